"""The outbox: leased in batches, emptied once the broker has confirmed."""

from collections.abc import Sequence
from datetime import datetime

from carillon.gateway.domain import Due, queued
from carillon.gateway.store.turns import TAKE_TURNS
from carillon.gateway.turns import Turn
from carillon.kit.database import Database

# = ANY(ARRAY(...)) and not IN (...): the latter can be evaluated again and lease more than it should.
CLAIM = """
UPDATE gateway.outbox
SET lease_until = now() + $2 * interval '1 second', maybe_sent = maybe_sent OR lease_until IS NOT NULL
WHERE notification_id = ANY(ARRAY(
    SELECT notification_id FROM gateway.outbox
    WHERE available_at <= now() AND (lease_until IS NULL OR lease_until < now())
    ORDER BY available_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
))
RETURNING notification_id, generation, queue, correlation_id, body, lease_until, caller_id
"""

SETTLE = """
WITH sent AS (
    SELECT * FROM unnest($1::uuid[], $3::text[], $4::timestamptz[], $5::json[])
        AS s (notification_id, key, at, detail)
), gone AS (
    DELETE FROM gateway.outbox WHERE notification_id = ANY($1::uuid[]) AND lease_until = $2
)
INSERT INTO gateway.notification_events (notification_id, key, kind, at, detail)
SELECT notification_id, key, 'queued', at, detail FROM sent ORDER BY notification_id
ON CONFLICT DO NOTHING
"""

# A rest is a lease of nobody's: since when it waits stays as it is.
GIVE_BACK = """
UPDATE gateway.outbox
SET lease_until = CASE WHEN $4 AND $3 > 0 THEN now() + $3 * interval '1 second' END, maybe_sent = maybe_sent OR $4
WHERE notification_id = ANY($1::uuid[]) AND lease_until = $2
"""

END_LEASES = "UPDATE gateway.outbox SET lease_until = NULL, maybe_sent = true WHERE lease_until IS NOT NULL"

WAITING = "SELECT count(*) FROM gateway.outbox WHERE available_at <= now()"

BACKLOG = """
SELECT count(*), coalesce(extract(epoch FROM now() - min(available_at)), 0)::float8
FROM gateway.outbox WHERE available_at <= now()
"""


class Outbox:
    """What is committed and not yet with the broker."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, size: int, *, lease_seconds: float) -> list[Due]:
        """Lease what has waited longest; nobody else gets it before the lease ends."""
        return [Due(*row) for row in await self._database.fetch(CLAIM, size, lease_seconds)]

    async def take_turns(self, turns: Sequence[Turn], size: int, *, lease_seconds: float) -> list[Due]:
        """As `claim`, of these queues alone: the lanes in their order, in each the callers by turns."""
        columns = zip(*((turn.queue, turn.lane, turn.room, turn.past) for turn in turns), strict=True)
        return [Due(*row) for row in await self._database.fetch(TAKE_TURNS, *columns, size, lease_seconds)]

    async def settle(self, sent: Sequence[Due], at: datetime) -> None:
        """Remove what the broker has confirmed and note it in the timelines, in one statement.

        `sent` is of one claim. A row that another relay has leased since, or that was queued anew, stays.
        """
        steps = [queued(due, at) for due in sent]
        await self._database.execute(
            SETTLE,
            [due.notification_id for due in sent],
            sent[0].lease_until,
            [step.key for step in steps],
            [step.at for step in steps],
            [step.detail for step in steps],
        )

    async def give_back(self, unsent: Sequence[Due], *, rest_seconds: float, maybe_sent: bool) -> None:
        """End the leases of one claim early; these rows can be taken again, what the broker may have after a rest.

        `maybe_sent`: it may have them all the same, so that nobody can say any more that they were not sent.
        """
        keys = [due.notification_id for due in unsent]
        await self._database.execute(GIVE_BACK, keys, unsent[0].lease_until, rest_seconds, maybe_sent)

    async def waiting(self) -> int:
        """How many could be sent now."""
        return int(await self._database.fetchval(WAITING))

    async def backlog(self) -> tuple[int, float]:
        """The same, and for how many seconds the oldest of them has been due."""
        row = await self._database.fetchrow(BACKLOG)
        return (int(row[0]), row[1]) if row else (0, 0.0)

    async def end_leases(self) -> None:
        """Take back what dead relays held; a living one would then send a message that another sends too."""
        await self._database.execute(END_LEASES)
