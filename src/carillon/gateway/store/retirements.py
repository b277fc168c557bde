"""Taking out what has ended: a month's partition as a whole, in bites what lies in no partition of its own."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from carillon.gateway.domain import Month, key_from
from carillon.kit.database import Connection, Database

_LOCK = 0x0CA7_2112
_TABLES = ("notifications", "notification_events")  # in the order in which statements lock them

# Detaching waits for whoever reads or writes the whole table, and whoever comes after waits behind it: not for long.
_PATIENCE = "SET LOCAL lock_timeout = '100ms'"
_MINE = "SELECT pg_try_advisory_xact_lock($1)"

_NAMES = """
SELECT substr(c.relname, 15) FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
WHERE s.nspname = 'gateway' AND c.relkind = 'r' AND c.relispartition = $1
    AND c.relname ~ '^notifications_\\d{4}_\\d{2}$'
ORDER BY 1
"""
_STATE = """
SELECT c.relispartition FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
WHERE s.nspname = 'gateway' AND c.relkind = 'r' AND c.relname = $1
"""

_PENDING = """
WITH bite AS MATERIALIZED (
    SELECT id, status FROM gateway.notifications_{month} WHERE id > $1 ORDER BY id LIMIT $2
)
SELECT (SELECT id FROM bite WHERE status = 'pending' ORDER BY id LIMIT 1) AS pending,
    (SELECT id FROM bite ORDER BY id DESC LIMIT 1) AS last
"""

# What ended can begin again only by a replay, which leaves its mark on the dead letter and a row in the outbox. Asked
# while everybody waits for the tables: of the letters only those are read that were replayed in the last minutes.
REVIVED = """
SELECT EXISTS (SELECT FROM gateway.outbox WHERE notification_id >= $1 AND notification_id < $2)
    OR EXISTS (
        SELECT FROM (
            SELECT notification_id FROM gateway.dead_letters
            WHERE replayed_at > $3::timestamptz - interval '5 minutes' OFFSET 0
        ) AS lately WHERE notification_id >= $1 AND notification_id < $2
    )
"""

# Each key is looked up on the index; no plan reads the whole table for it.
DROP_KEYS = """
WITH bite AS MATERIALIZED (
    SELECT id, caller_id, request_id FROM gateway.notifications_{month} WHERE id > $1 ORDER BY id LIMIT $2
), gone AS (
    DELETE FROM gateway.idempotency_keys WHERE ctid = ANY(ARRAY(
        SELECT k.place FROM bite b CROSS JOIN LATERAL (
            SELECT k.ctid AS place FROM gateway.idempotency_keys k
            WHERE k.caller_id = b.caller_id AND k.request_id = b.request_id AND k.notification_id = b.id OFFSET 0
        ) AS k
    ))
    RETURNING 1
)
SELECT (SELECT count(*) FROM gone) AS gone, (SELECT id FROM bite ORDER BY id DESC LIMIT 1) AS last
"""

# What came while its month had no partition, or with a wrong clock.
_SWEEP = """
WITH bite AS MATERIALIZED (
    SELECT n.ctid AS place, n.id, n.caller_id, n.request_id FROM gateway.notifications_default n
    WHERE n.id < $1 AND n.status <> 'pending' ORDER BY n.id LIMIT $2 FOR UPDATE SKIP LOCKED
), keys AS (
    DELETE FROM gateway.idempotency_keys WHERE ctid = ANY(ARRAY(
        SELECT k.place FROM bite b CROSS JOIN LATERAL (
            SELECT k.ctid AS place FROM gateway.idempotency_keys k
            WHERE k.caller_id = b.caller_id AND k.request_id = b.request_id AND k.notification_id = b.id OFFSET 0
        ) AS k
    ))
)
DELETE FROM gateway.notifications_default WHERE ctid = ANY(ARRAY(SELECT place FROM bite)) RETURNING 1
"""
_SWEEP_EVENTS = """
DELETE FROM gateway.notification_events_default WHERE ctid = ANY(ARRAY(
    SELECT e.ctid FROM gateway.notification_events_default e
    WHERE e.notification_id < $1 AND NOT EXISTS (
        SELECT FROM gateway.notifications n WHERE n.id = e.notification_id OFFSET 0
    )
    ORDER BY e.notification_id LIMIT $2 FOR UPDATE OF e SKIP LOCKED
))
RETURNING 1
"""
_DROP_LETTERS = """
DELETE FROM gateway.dead_letters WHERE id = ANY(ARRAY(
    SELECT id FROM gateway.dead_letters WHERE id < $1 ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED
))
RETURNING 1
"""
# Ended long ago, and none of its notifications is kept: what is pending keeps its month, and so its broadcast.
_LONG_ENDED = """
SELECT b.id FROM gateway.broadcasts b
WHERE b.id < $1 AND b.updated_at < $2 AND b.status IN ('finished', 'cancelled') AND NOT EXISTS (
    SELECT FROM gateway.notifications n WHERE n.broadcast_id = b.id OFFSET 0
)
"""
_DROP_RECIPIENTS = f"""
DELETE FROM gateway.broadcast_recipients WHERE ctid = ANY(ARRAY(
    SELECT r.place FROM ({_LONG_ENDED}) AS b CROSS JOIN LATERAL (
        SELECT r.ctid AS place FROM gateway.broadcast_recipients r WHERE r.broadcast_id = b.id OFFSET 0
    ) AS r
    LIMIT $3
))
RETURNING 1
"""  # noqa: S608 - of constants, as below
_DROP_BROADCASTS = f"""
DELETE FROM gateway.broadcasts WHERE id = ANY(ARRAY(
    {_LONG_ENDED} AND NOT EXISTS (
        SELECT FROM gateway.broadcast_recipients r WHERE r.broadcast_id = b.id OFFSET 0
    )
    ORDER BY b.id LIMIT $3 FOR UPDATE OF b SKIP LOCKED
))
RETURNING 1
"""  # noqa: S608
_DROP_TOMBSTONES = """
DELETE FROM gateway.erased_users WHERE user_id = ANY(ARRAY(
    SELECT user_id FROM gateway.erased_users WHERE erased_at < $1 ORDER BY user_id LIMIT $2 FOR UPDATE SKIP LOCKED
))
RETURNING 1
"""


class _RevivedError(Exception):
    """Rolls a detachment back."""


class Retirements:
    """Every step is bounded, is whole or not at all, and may be taken by several replicas at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def now(self) -> datetime:
        """By the database's clock."""
        moment: datetime = await self._database.fetchval("SELECT clock_timestamp()")
        return moment

    async def attached(self) -> Sequence[str]:
        """The months that have a partition, as in 2026_01, the oldest first."""
        return [row[0] for row in await self._database.fetch(_NAMES, True)]

    async def apart(self) -> Sequence[str]:
        """The months that were detached and are still there."""
        return [row[0] for row in await self._database.fetch(_NAMES, False)]

    async def pending(self, month: Month, after: UUID, limit: int) -> tuple[UUID | None, UUID | None]:
        """Of the next rows of a partition: the first that has not ended, and the last of them all.

        Neither where another replica has dropped the month meanwhile.
        """
        async with self._database.connection() as connection:
            try:
                row = await connection.fetchrow(_PENDING.format(month=month.name), after, limit)
            except asyncpg.UndefinedTableError:
                return None, None
        return row["pending"], row["last"]

    async def detach(self, month: Month, *, ended_at: datetime) -> bool:
        """False when the tables were in use for too long, another replica is at it, or something began again.

        `ended_at`: when, by the database's clock, looking for rows that have not ended began.
        """
        async with self._database.connection() as connection:
            try:
                async with connection.transaction():
                    return await self._detach(connection, month, ended_at)
            except (asyncpg.LockNotAvailableError, _RevivedError):
                return False

    async def _detach(self, connection: Connection, month: Month, ended_at: datetime) -> bool:
        if not await connection.fetchval(_MINE, _LOCK):
            return False
        await connection.execute(_PATIENCE)
        for table in _TABLES:
            if await connection.fetchval(_STATE, f"{table}_{month.name}"):
                await connection.execute(f"ALTER TABLE gateway.{table} DETACH PARTITION gateway.{table}_{month.name}")
        if await connection.fetchval(REVIVED, month.first, month.end, ended_at):
            raise _RevivedError
        return True

    async def drop_keys(self, month: Month, after: UUID, limit: int) -> tuple[int, UUID | None]:
        """Of the next rows of a detached month: how many had a key of idempotency, and the last; None after the end."""
        async with self._database.transaction() as connection:
            if not await self._is_apart(connection, month):
                return 0, None
            row = await connection.fetchrow(DROP_KEYS.format(month=month.name), after, limit)
            return row["gone"], row["last"]

    async def drop(self, month: Month) -> bool:
        """False when it is gone, or another replica is at it. Its keys must have gone before."""
        async with self._database.transaction() as connection:
            if not await self._is_apart(connection, month):
                return False
            await connection.execute(_PATIENCE)
            for table in reversed(_TABLES):  # the keys are found by the notifications: they leave last
                if await connection.fetchval(_STATE, f"{table}_{month.name}") is False:
                    await connection.execute(f"DROP TABLE gateway.{table}_{month.name}")
            return True

    async def _is_apart(self, connection: Connection, month: Month) -> bool:
        """Under the lock of all that touch a detached month: it cannot vanish while one looks into it."""
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        return (await connection.fetchval(_STATE, f"notifications_{month.name}")) is False

    async def sweep(self, before: UUID, limit: int) -> int:
        """Of what is in no month's partition; how many notifications."""
        return await self._some(_SWEEP, before, limit)

    async def sweep_events(self, before: UUID, limit: int) -> int:
        """Steps in no month's partition whose notification is gone."""
        return await self._some(_SWEEP_EVENTS, before, limit)

    async def drop_letters(self, before: UUID, limit: int) -> int:
        return await self._some(_DROP_LETTERS, before, limit)

    async def drop_recipients(self, before: datetime, limit: int) -> int:
        """Ids that were given for broadcasts that ended before, and were not enqueued."""
        return await self._some(_DROP_RECIPIENTS, key_from(before), before, limit)

    async def drop_broadcasts(self, before: datetime, limit: int) -> int:
        """Those that ended before, of which neither notifications nor recipients are left."""
        return await self._some(_DROP_BROADCASTS, key_from(before), before, limit)

    async def drop_tombstones(self, before: datetime, limit: int) -> int:
        return await self._some(_DROP_TOMBSTONES, before, limit)

    async def _some(self, sql: str, *arguments: Any) -> int:
        return len(await self._database.fetch(sql, *arguments))
