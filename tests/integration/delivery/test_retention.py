"""Deliveries leave once they are old, a live claim and what was settled lately never."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from carillon.contracts.retention import deliveries_kept_days
from carillon.delivery.retention import retire
from carillon.delivery.store import DeliveriesStore
from carillon.kit.database import Database, open_database
from carillon.kit.ids import uuid7

_PUT = """
INSERT INTO email_worker.deliveries (
    notification_id, generation, channel, state, owner, at_most_once, lease_until, settled_at
)
SELECT id, 0, 'email', $2, 'w', false, now() - $3 * interval '1 day',
    CASE WHEN $2 = 'claimed' THEN NULL ELSE now() - $3 * interval '1 day' END
FROM unnest($1::uuid[]) AS g (id)
"""
_KEEP = 90
_LONGEST = deliveries_kept_days(_KEEP)


@pytest.fixture
async def mine(migrated: str) -> AsyncIterator[Database]:
    async with open_database(migrated, name="mine") as database:
        yield database


async def put(database: Database, *, born: int, settled: int, state: str = "sent", count: int = 1) -> list[UUID]:
    """Of notifications that are `born` days old, settled (or claimed for the last time) `settled` days ago."""
    at = int((datetime.now(UTC) - timedelta(days=born)).timestamp() * 1000)
    keys = [uuid7(at) for _ in range(count)]
    await database.execute(_PUT, keys, state, settled)
    return keys


async def test_deliveries_outlive_the_last_notification_of_a_month_by_a_week(mine: Database) -> None:
    store = DeliveriesStore(mine, schema="email_worker", channel="email", lease_seconds=60)
    await put(mine, born=_LONGEST + 1, settled=_LONGEST + 1, count=1_200)
    await put(mine, born=_LONGEST + 1, settled=_LONGEST + 1, state="failed")
    await put(mine, born=_LONGEST + 1, settled=_LONGEST + 1, state="claimed")
    staying = [
        *await put(mine, born=_LONGEST - 1, settled=_LONGEST - 1),
        *await put(mine, born=_LONGEST + 300, settled=1),  # sent long after it was accepted
        *await put(mine, born=_LONGEST + 300, settled=-1, state="claimed"),
    ]

    assert await retire(store, _KEEP, service="email_worker") == 1_202

    left = await mine.fetch("SELECT notification_id FROM email_worker.deliveries")
    assert {row[0] for row in left} == set(staying)
    assert _LONGEST >= _KEEP + 31 + 7
