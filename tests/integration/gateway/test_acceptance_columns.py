"""Acceptances that are committed together keep what is their own: in all fields alike, in none, or in some."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
import pytest

from carillon.contracts.notifications import NotificationRequested
from carillon.gateway.domain import Acceptance, acceptance_of
from carillon.gateway.store.acceptances import Acceptances
from carillon.kit.database import open_database
from carillon.kit.ids import born_at, uuid7

LATER = datetime(2130, 1, 31, 18, tzinfo=UTC)
PLAIN: dict[str, Any] = {"variables": {"name": "Ada", "link": "https://example.com/x"}, "template_code": "welcome"}
RICH: dict[str, Any] = {
    **PLAIN,
    "template_code": "other",
    "priority": 9,
    "category": "orders",
    "metadata": {"of": 'Ü{},\\"'},
    "notification_type": "push",
    "send_at": datetime.now(UTC) + timedelta(hours=1, microseconds=1),
    "expires_at": LATER,
}
KEPT = """
SELECT n.id, n.caller_id, n.request_id, n.channel, n.user_id, n.template_code, n.priority, n.category,
    n.metadata::text AS metadata, n.correlation_id, n.created_at, n.updated_at, n.send_at, n.expires_at,
    k.body_hash, k.message, o.queue, o.body, o.caller_id AS owner, o.correlation_id AS followed, o.available_at
FROM gateway.notifications n
JOIN gateway.idempotency_keys k ON k.notification_id = n.id AND k.caller_id = n.caller_id
JOIN gateway.outbox o ON o.notification_id = n.id
"""


def acceptance(number: int, fields: dict[str, Any]) -> Acceptance:
    body = {"notification_type": "email", "user_id": uuid4(), "request_id": f"{number},{{'", **fields}
    asked = msgspec.convert(body, NotificationRequested)
    key, caller = uuid7(time.time_ns() // 1_000_000 + 7 * number), uuid4()
    return acceptance_of(asked, notification_id=key, caller_id=caller, correlation_id=f"c{number}")


def assert_kept(row: asyncpg.Record, given: Acceptance) -> None:
    for name in Acceptance.__struct_fields__:
        if name in row:
            assert row[name] == getattr(given, name), name
    assert row["created_at"] == row["updated_at"] == born_at(given.notification_id)
    assert (row["body"], row["owner"], row["followed"]) == (given.message, given.caller_id, given.correlation_id)
    assert given.send_at in {None, row["available_at"]}


@pytest.mark.parametrize(
    "fields",
    [[PLAIN], [RICH], [PLAIN] * 3, [RICH] * 3, [RICH, PLAIN, PLAIN], [PLAIN, RICH, PLAIN], [PLAIN, PLAIN, RICH]],
)
async def test_whatever_rows_have_in_common_each_is_kept_as_it_was_given(
    database: str, fields: list[dict[str, Any]]
) -> None:
    batch = [acceptance(number, each) for number, each in enumerate(fields)]
    if fields == [RICH] * 3:  # of one caller in one request
        batch = [msgspec.structs.replace(a, caller_id=batch[0].caller_id, correlation_id="c") for a in batch]

    async with open_database(database, name="test") as opened:
        await Acceptances(opened).accept(batch)
        rows = {row["id"]: row for row in await opened.fetch(KEPT)}

    assert len(rows) == len(batch)
    for given in batch:
        assert_kept(rows[given.notification_id], given)
