"""The audit trail is kept for ever unless a setting shortens it from its old end."""

from datetime import UTC, datetime, timedelta

import asyncpg

from carillon.kit.database import open_database
from carillon.kit.ids import uuid7
from carillon.users.settings import UsersSettings
from carillon.users.store.stores import Stores

_PUT = "INSERT INTO users.audit_events (id, at, action) VALUES ($1, $2, 'signed_in')"


async def test_old_events_leave_in_bites_and_the_others_stay(settings: UsersSettings, sql: asyncpg.Connection) -> None:
    now = datetime.now(UTC)
    for days in (31, 31, 31, 29):
        at = now - timedelta(days=days)
        await sql.execute(_PUT, uuid7(int(at.timestamp() * 1000)), at)
    before = await sql.fetchval("SELECT count(*) FROM users.audit_events")

    async with open_database(settings.database_url, name="users") as database:
        trail = Stores(database).audit_trail
        dropped = [await trail.drop_old(older_than_days=30, limit=2) for _ in range(3)]

    assert dropped == [2, 1, 0]
    assert await sql.fetchval("SELECT count(*) FROM users.audit_events") == before - 3


async def test_nothing_is_dropped_unless_somebody_asks_for_it(settings: UsersSettings) -> None:
    assert settings.audit_days == 0
