"""Notifications that have not ended after a while: found once each by their keys, then looked at when it is time."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from carillon.contracts.channels import FAILED_QUEUE, STATUS_QUEUE, lane_of, queue_of
from carillon.contracts.messages import Step
from carillon.contracts.statuses import RANK_EXPIRED, RANK_FAILED
from carillon.gateway.dead_letters import renewed
from carillon.gateway.domain import key_from
from carillon.gateway.watching import (
    NO_NEWS,
    QUEUES,
    GivenUp,
    QueuedAnew,
    Verdict,
    WaitsOn,
    Watched,
    given_up,
    requeued,
)
from carillon.kit.database import Connection, Database
from carillon.kit.ids import born_at

# No index knows who is pending: a column that every report changes has none. Keys are times, so everything of a while
# ago is read once, in the order in which it lies, and only what has not ended is remembered. Of several replicas one
# reads on, the others find the mark taken.
_MARK = "SELECT up_to FROM gateway.watch_marks WHERE name = $1 FOR UPDATE SKIP LOCKED"
_BITE = """
SELECT n.id, n.channel, n.priority, n.status FROM gateway.notifications n
WHERE n.id > $1 AND n.id < $2 ORDER BY n.id LIMIT $3
"""
_WATCH = """
INSERT INTO gateway.watched_notifications (notification_id) SELECT unnest($1::uuid[]) ON CONFLICT DO NOTHING
"""
_MOVE = "UPDATE gateway.watch_marks SET up_to = $2 WHERE name = $1"

# What was delivered was handed out before, and was put into its lane after it was accepted: whatever was put there
# before it was accepted has been handed out. Its report was put among the reports after that too, and has been
# recorded. So with a letter that was kept and the dead letters. These are marks as well, by the names of the queues.
_PASSED = """
INSERT INTO gateway.watch_marks AS m (name, up_to)
SELECT * FROM unnest($1::text[], $2::uuid[]) AS g (name, up_to) ORDER BY g.name
ON CONFLICT (name) DO UPDATE SET up_to = excluded.up_to WHERE m.up_to < excluded.up_to
"""
_PASSED_ON = """
SELECT m.name, m.up_to FROM gateway.watch_marks m WHERE m.name = ANY($1::text[]) AND m.up_to < $3
UNION ALL (
    SELECT $2, d.notification_id FROM gateway.dead_letters d
    WHERE d.notification_id < $3 ORDER BY d.notification_id DESC LIMIT 1
)
"""

_TAKE = """
SELECT w.notification_id FROM gateway.watched_notifications w
WHERE w.look_at <= now() ORDER BY w.look_at LIMIT $1 FOR UPDATE SKIP LOCKED
"""
_LOCK = "SELECT n.id FROM gateway.notifications n WHERE n.id = ANY($1::uuid[]) ORDER BY n.id FOR NO KEY UPDATE"
_LOOK = """
SELECT w.notification_id, w.quiet_since, w.requeued, n.*, now() AS now
FROM unnest($1::uuid[]) AS asked (id)
CROSS JOIN LATERAL (
    SELECT * FROM gateway.watched_notifications w WHERE w.notification_id = asked.id OFFSET 0
) AS w
LEFT JOIN LATERAL (
    SELECT n.status, n.channel, n.priority, n.generation, n.created_at, n.send_at, n.expires_at, n.next_expected_at,
        (SELECT o.available_at FROM gateway.outbox o WHERE o.notification_id = n.id) AS outbox_at,
        (SELECT k.message IS NOT NULL FROM gateway.idempotency_keys k
         WHERE k.caller_id = n.caller_id AND k.request_id = n.request_id AND k.notification_id = n.id) AS has_message
    FROM gateway.notifications n WHERE n.id = asked.id OFFSET 0
) AS n ON true
"""
_MESSAGES = """
SELECT n.id, (
    SELECT k.message FROM gateway.idempotency_keys k WHERE k.caller_id = n.caller_id AND k.request_id = n.request_id
) AS message
FROM gateway.notifications n WHERE n.id = ANY($1::uuid[])
"""

_WAIT_ON = """
UPDATE gateway.watched_notifications w SET look_at = g.look_at, quiet_since = g.quiet_since
FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) AS g (id, look_at, quiet_since)
WHERE w.notification_id = g.id AND w.notification_id = ANY($1::uuid[])
"""
_FORGET = "DELETE FROM gateway.watched_notifications WHERE notification_id = ANY($1::uuid[])"

_REQUEUE = """
WITH wanted AS (
    SELECT * FROM unnest(
        $1::uuid[], $2::integer[], $3::text[], $4::bytea[], $5::text[], $6::timestamptz[], $7::json[],
        $8::timestamptz[]
    ) AS w (id, generation, queue, body, key, at, detail, look_at)
), again AS (
    UPDATE gateway.notifications n
    SET stage = NULL, generation = w.generation, rank = 0, next_expected_at = NULL, updated_at = now()
    FROM wanted w WHERE n.id = w.id AND n.id = ANY($1::uuid[])
    RETURNING n.id, n.caller_id, n.correlation_id
), watching AS (
    UPDATE gateway.watched_notifications c
    SET look_at = w.look_at, quiet_since = NULL, requeued = c.requeued + 1
    FROM wanted w WHERE c.notification_id = w.id AND c.notification_id = ANY($1::uuid[])
), queued AS (
    INSERT INTO gateway.outbox (notification_id, generation, caller_id, queue, correlation_id, body)
    SELECT w.id, w.generation, a.caller_id, w.queue, a.correlation_id, w.body FROM wanted w JOIN again a USING (id)
)
INSERT INTO gateway.notification_events (notification_id, key, kind, at, reason, detail)
SELECT id, key, 'requeued', at, $9, detail FROM wanted
ON CONFLICT DO NOTHING
"""

_GIVE_UP = """
WITH wanted AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::integer[], $4::text[], $5::timestamptz[], $6::json[])
        AS w (id, status, rank, key, at, detail)
), ended AS (
    UPDATE gateway.notifications n
    SET status = w.status, stage = NULL, rank = w.rank, reason = $7, next_expected_at = NULL, updated_at = now()
    FROM wanted w WHERE n.id = w.id AND n.id = ANY($1::uuid[])
)
INSERT INTO gateway.notification_events (notification_id, key, kind, at, reason, detail)
SELECT id, key, status, at, $7, detail FROM wanted
ON CONFLICT DO NOTHING
"""

_FIRST = UUID(int=0)
_RANKS = {"expired": RANK_EXPIRED, "failed": RANK_FAILED}


class WatchedNotifications:
    """Safe in every replica at once: what one of them holds the others pass over."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def now(self) -> datetime:
        """The only clock that counts."""
        moment: datetime = await self._database.fetchval("SELECT now()")
        return moment

    async def pass_over(self, mark: str, until: datetime, *, limit: int) -> int:
        """Read the next keys that were born before `until`, and watch those that have not ended; answers how many."""
        async with self._database.transaction() as connection:
            up_to = await connection.fetchval(_MARK, mark)
            if up_to is None:
                return 0
            rows = await connection.fetch(_BITE, up_to, key_from(until), limit)
            if rows:
                await connection.execute(_WATCH, [row["id"] for row in rows if row["status"] == "pending"])
                await _note_passed(connection, rows)
                await connection.execute(_MOVE, mark, rows[-1]["id"])
            return len(rows)

    async def passed_on(self, now: datetime) -> Mapping[str, datetime]:
        """Of each queue, a moment before which everything that was put there has left it, as what has arrived shows."""
        rows = await self._database.fetch(_PASSED_ON, QUEUES, FAILED_QUEUE, key_from(now))
        return {row["name"]: born_at(row["up_to"]) for row in rows}

    async def look(
        self, limit: int, decide: Callable[[Watched, datetime], Verdict]
    ) -> Sequence[tuple[Watched, Verdict]]:
        """Decide about those whose time has come, and do it, in one commit. Whoever reports meanwhile waits for it."""
        async with self._database.transaction() as connection:
            keys = [row[0] for row in await connection.fetch(_TAKE, limit)]
            if not keys:
                return ()
            await connection.fetch(_LOCK, keys)
            rows = await connection.fetch(_LOOK, keys)
            now: datetime = rows[0]["now"]
            judged = [(one, decide(one, now)) for one in map(_watched, rows)]
            await _do(connection, judged, now)
        return judged


async def _note_passed(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """The rows are in the order of their keys: the last of each lane stands."""
    arrived = {queue_of(r["channel"], lane_of(r["priority"])): r["id"] for r in rows if r["status"] == "delivered"}
    if arrived:
        arrived[STATUS_QUEUE] = max(arrived.values())
        await connection.execute(_PASSED, *zip(*arrived.items(), strict=True))


def _watched(row: Mapping[str, Any]) -> Watched:
    given = {name: row[name] for name in Watched.__struct_fields__}
    return Watched(**{**given, "has_message": bool(given["has_message"])})


async def _do(connection: Connection, judged: Sequence[tuple[Watched, Verdict]], now: datetime) -> None:
    waiting = [(one.notification_id, v.look_at, v.quiet_since) for one, v in judged if isinstance(v, WaitsOn)]
    anew = [(one, v) for one, v in judged if isinstance(v, QueuedAnew)]
    lost = [(one, v) for one, v in judged if isinstance(v, GivenUp)]
    over = [one.notification_id for one, v in judged if not isinstance(v, WaitsOn | QueuedAnew)]
    if waiting:
        await connection.execute(_WAIT_ON, *zip(*waiting, strict=True))
    if anew:
        await _requeue(connection, anew, now)
    if lost:
        await _give_up(connection, lost, now)
    if over:
        await connection.execute(_FORGET, over)


async def _requeue(connection: Connection, anew: Sequence[tuple[Watched, QueuedAnew]], now: datetime) -> None:
    keys = [one.notification_id for one, _ in anew]
    kept = {row["id"]: row["message"] for row in await connection.fetch(_MESSAGES, keys)}
    rows = [
        (
            one.notification_id,
            one.generation + 1,
            one.queue,
            renewed(kept[one.notification_id], one.generation + 1, now),
            *_told(requeued(one, v, now)),
            v.look_at,
        )
        for one, v in anew
    ]
    await connection.execute(_REQUEUE, *zip(*rows, strict=True), NO_NEWS)


async def _give_up(connection: Connection, lost: Sequence[tuple[Watched, GivenUp]], now: datetime) -> None:
    rows = [(one.notification_id, v.status, _RANKS[v.status], *_told(given_up(one, v, now))) for one, v in lost]
    await connection.execute(_GIVE_UP, *zip(*rows, strict=True), NO_NEWS)


def _told(step: Step) -> tuple[object, ...]:
    return step.key, step.at, step.detail
