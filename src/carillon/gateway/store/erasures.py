"""What is personal in the notifications of somebody who was erased: metadata, what providers said, details of steps,
and what waits to be sent later or is kept to be sent again; and whom broadcasts have still to meet.

Of their dead letters the bodies and errors; a tombstone sees to those that wait in `failed.queue` still.
"""

from datetime import UTC, datetime
from uuid import UUID

from carillon.gateway.domain import cancelled
from carillon.gateway.store.cancellations import Cancellations
from carillon.kit.database import Database

# A step keeps its reason, a word of ours, unless a provider's call-back gave it.
_SCRUB = """
WITH bite AS MATERIALIZED (
    SELECT id, status, send_at, caller_id, request_id FROM gateway.notifications WHERE user_id = $1 AND id > $2
    ORDER BY id LIMIT $3 FOR NO KEY UPDATE
), scrubbed AS (
    UPDATE gateway.notifications SET metadata = NULL, error = NULL
    WHERE id = ANY(ARRAY(SELECT id FROM bite)) AND (metadata IS NOT NULL OR error IS NOT NULL)
), steps AS (
    UPDATE gateway.notification_events
    SET detail = NULL, reason = CASE WHEN detail->>'source' = 'call_back' THEN NULL ELSE reason END
    WHERE notification_id = ANY(ARRAY(SELECT id FROM bite)) AND detail IS NOT NULL
), messages AS (
    UPDATE gateway.idempotency_keys SET message = NULL
    WHERE ctid = ANY(ARRAY(
        SELECT k.ctid FROM bite CROSS JOIN LATERAL (
            SELECT k.ctid FROM gateway.idempotency_keys k
            WHERE k.caller_id = bite.caller_id AND k.request_id = bite.request_id AND k.message IS NOT NULL OFFSET 0
        ) AS k
    ))
)
SELECT id, status = 'pending' AS pending, status = 'pending' AND send_at > now() AS scheduled FROM bite
"""

TOMBSTONES = 0x0CA7_2111
"""The advisory lock that dead letters are kept under (shared) and tombstones set under (alone): whoever keeps one sees
the tombstone, or is seen by the scrubbing that follows it."""

_ENTOMB = "INSERT INTO gateway.erased_users (user_id) VALUES ($1) ON CONFLICT DO NOTHING"

_SCRUB_DEAD = """
UPDATE gateway.dead_letters SET body = NULL, first_error = NULL, last_error = NULL
WHERE id = ANY(ARRAY(
    SELECT id FROM gateway.dead_letters
    WHERE user_id = $1 AND (body IS NOT NULL OR first_error IS NOT NULL OR last_error IS NOT NULL)
    ORDER BY id LIMIT $2
))
RETURNING id
"""

_WAITED_FOR_BY = "SELECT broadcast_id FROM gateway.broadcast_recipients WHERE user_id = $1 LIMIT 1"
_LOCK_BROADCAST = "SELECT FROM gateway.broadcasts WHERE id = $1 FOR NO KEY UPDATE"
_LEAVE_OUT = """
WITH gone AS (
    DELETE FROM gateway.broadcast_recipients WHERE broadcast_id = $1 AND user_id = $2 RETURNING 1
)
UPDATE gateway.broadcasts SET total = total - (SELECT count(*) FROM gone) WHERE id = $1
"""


class Erasures:
    """In bites, so that no statement takes long; doing it again does no harm."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cancellations = Cancellations(database)

    async def scrub(self, user_id: UUID, *, bite: int) -> int:
        """How many of the user's notifications have not ended, so that more may still be written about them.

        What is scheduled is cancelled: it would keep their variables until its time comes.
        """
        await self._entomb(user_id)
        while broadcast_id := await self._database.fetchval(_WAITED_FOR_BY, user_id):
            await self._leave_out(broadcast_id, user_id)
        while await self._database.fetch(_SCRUB_DEAD, user_id, bite):
            pass
        after, pending = UUID(int=0), 0
        while rows := await self._database.fetch(_SCRUB, user_id, after, bite):
            after = max(row["id"] for row in rows)
            pending += sum(row["pending"] for row in rows)
            pending -= await self._cancel([row["id"] for row in rows if row["scheduled"]])
        return pending

    async def _entomb(self, user_id: UUID) -> None:
        async with self._database.transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock($1)", TOMBSTONES)
            await connection.execute(_ENTOMB, user_id)

    async def _leave_out(self, broadcast_id: UUID, user_id: UUID) -> None:
        """One broadcast at a time, locked first, as by whoever enqueues: nobody waits in a circle."""
        async with self._database.transaction() as connection:
            await connection.execute(_LOCK_BROADCAST, broadcast_id)
            await connection.execute(_LEAVE_OUT, broadcast_id, user_id)

    async def _cancel(self, scheduled: list[UUID]) -> int:
        if not scheduled:
            return 0
        step = cancelled(datetime.now(UTC), reason="user_erased")
        return len(await self._cancellations.cancel(scheduled, step, owner=None))
