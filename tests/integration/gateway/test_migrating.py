"""A gateway of before whose tables are full, brought up to date while others write."""

import asyncio
import shutil
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from carillon.gateway.app import MIGRATIONS
from carillon.gateway.domain import month_named
from carillon.gateway.store.partitions import Partitions
from carillon.kit.database import open_database
from carillon.kit.ids import uuid7
from carillon.kit.migrations import migrate
from tests.support.waiting import eventually

_WRITE = """
INSERT INTO gateway.notifications (
    id, caller_id, request_id, channel, user_id, template_code, priority, correlation_id, created_at, updated_at
) VALUES ($1, $2, 'r', 'email', $2, 'welcome', 5, 'c', now(), now())
"""
_INDEXES = """
SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = ANY($1::regclass[]) ORDER BY 1
"""
_UNFINISHED = "SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass('gateway.' || $1) AND NOT indisvalid"
_TABLES = [f"gateway.{name}" for name in ("outbox", "dead_letters", "broadcast_recipients", "notifications_default")]


@pytest.fixture
async def before(database: str, tmp_path: Path) -> str:
    """The DSN of a database whose gateway lacks the revision that builds indexes."""
    folder = tmp_path / "before"
    late = [path.name for path in (MIGRATIONS / "versions").glob("*.py") if path.name >= "0009"]
    shutil.copytree(MIGRATIONS, folder, ignore=lambda *_: {*late, "__pycache__"})
    connection = await asyncpg.connect(database, timeout=10, command_timeout=20)
    try:
        await connection.execute("DROP SCHEMA gateway CASCADE")
    finally:
        await connection.close(timeout=5)
    await migrate(database, "gateway", folder)
    return database


async def test_indexes_are_built_on_full_tables_while_others_write_and_nobody_waits(before: str) -> None:
    this_month = f"{datetime.now(UTC):%Y_%m}"
    async with open_database(before, name="gateway") as database, open_database(before, name="other") as other:
        await Partitions(database).ensure([month_named(this_month)])
        keys, caller = [uuid7() for _ in range(20)], uuid7()
        for key in (*keys, UUID(int=7)):  # the last in no month
            await database.execute(_WRITE, key, caller)
            await database.execute(
                "INSERT INTO gateway.outbox (notification_id, queue, correlation_id, body) VALUES ($1, 'q', 'c', 'b')",
                key,
            )

        async def building() -> bool:
            return bool(await other.fetchval(_UNFINISHED, f"notifications_of_broadcast_{this_month}"))

        async with database.transaction() as slow:
            await slow.execute(
                _WRITE.replace("gateway.notifications", f"gateway.notifications_{this_month}"), uuid7(), caller
            )
            migrating = asyncio.create_task(migrate(before, "gateway", MIGRATIONS))
            await eventually(building)
            async with other.transaction() as quick:
                await quick.execute("SET LOCAL lock_timeout = '5s'")
                await quick.execute(_WRITE, uuid7(), caller)
            assert not migrating.done()
        await migrating

        assert await database.fetchval("SELECT array_agg(DISTINCT caller_id) FROM gateway.outbox") == [caller]
        month = [f"gateway.notifications_{this_month}", "gateway.notifications"]
        indexes = dict(map(tuple, await database.fetch(_INDEXES, _TABLES + month)))
    assert all(indexes.values())
    assert indexes.keys() >= {
        "outbox_turns", "dead_letters_replayed", "broadcast_recipients_of_user", "notifications_of_broadcast",
        "notifications_of_broadcast_default", f"notifications_of_broadcast_{this_month}",
    }  # fmt: skip
