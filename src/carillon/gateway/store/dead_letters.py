"""Dead letters in the tables: kept once each, grouped, paged, and queued anew together with their notifications."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from carillon.contracts.dead_letters import DeadLetter, DeadLetterGroup
from carillon.gateway.dead_letters import Candidate, Letter, LettersWanted, Requeue, Standing, bounded
from carillon.gateway.errors import RowsRefused
from carillon.gateway.store.erasures import TOMBSTONES
from carillon.gateway.store.session import BAD_DATA
from carillon.kit.database import Connection, Database, Row

_FIELDS = msgspec.structs.fields(Letter)
_NAMES = ", ".join(field.name for field in _FIELDS)
_TYPES = "uuid uuid uuid uuid int uuid text text text text text text text int text timestamptz timestamptz bool bytea"

# What died of somebody who has been erased meanwhile is kept without what is personal in it.
_KEEP = f"""
INSERT INTO gateway.dead_letters ({_NAMES})
SELECT {
    ", ".join(
        f"CASE WHEN e.user_id IS NULL THEN g.{field.name} END"
        if field.name in {"body", "first_error", "last_error"}
        else f"g.{field.name}"
        for field in _FIELDS
    )
}
FROM unnest({", ".join(f"${number}::{kind}[]" for number, kind in enumerate(_TYPES.split(), 1))}) AS g ({_NAMES})
LEFT JOIN gateway.erased_users e ON e.user_id = g.user_id
ORDER BY g.fingerprint
ON CONFLICT (fingerprint) DO NOTHING
"""  # noqa: S608 - constants of ours, here and below

_COLUMNS = """
d.id AS dead_letter_id, d.notification_id, d.generation, d.channel AS notification_type, d.user_id, d.template_code,
d.queue, d.cause, d.reason, d.first_error, d.last_error, d.attempts, d.provider, d.published_at, d.died_at,
d.replayed_at, d.notification_id IS NOT NULL AND d.body IS NOT NULL AND d.replayed_at IS NULL AS replayable
"""

_EXAMPLES = 3
_GROUPS = f"""
SELECT d.cause, count(*) AS count, min(d.died_at) AS first_died_at, max(d.died_at) AS last_died_at,
    (array_agg(d.id ORDER BY d.id DESC))[1:{_EXAMPLES}] AS examples
FROM gateway.dead_letters d WHERE {{conditions}}
GROUP BY d.cause ORDER BY count(*) DESC, d.cause LIMIT $1 OFFSET $2
"""  # noqa: S608
_CAUSES = "SELECT count(DISTINCT d.cause) FROM gateway.dead_letters d WHERE {conditions}"
_SOME = f"SELECT {_COLUMNS} FROM gateway.dead_letters d WHERE d.id = ANY($1::uuid[])"  # noqa: S608

_PAGE = f"""
SELECT {_COLUMNS} FROM gateway.dead_letters d WHERE {{conditions}} ORDER BY d.id DESC LIMIT $1 OFFSET $2
"""  # noqa: S608
_COUNT = "SELECT count(*) FROM gateway.dead_letters d WHERE {conditions}"

_CANDIDATES = """
SELECT d.id, d.notification_id, d.generation, d.user_id, d.cause, d.died_at, d.reported, d.body IS NOT NULL AS has_body
FROM gateway.dead_letters d WHERE d.id > $2 AND {conditions} ORDER BY d.id LIMIT $1
"""

_STANDINGS = """
SELECT n.id AS notification_id, n.status, n.generation, n.user_id, n.channel, n.template_code, n.category, n.priority,
    n.expires_at
FROM gateway.notifications n WHERE n.id = ANY($1::uuid[])
"""

_BODIES = "SELECT d.id, d.body FROM gateway.dead_letters d WHERE d.id = ANY($1::uuid[]) AND d.body IS NOT NULL"

# The reconciler locks what it watches, then the notifications; so does a replay, or the two would wait for each other.
# What is not replayed after all is looked at once, and forgotten.
_WATCH = """
INSERT INTO gateway.watched_notifications AS w (notification_id)
SELECT id FROM unnest($1::uuid[]) AS asked (id) ORDER BY id
ON CONFLICT (notification_id) DO UPDATE SET look_at = w.look_at
"""
_LOCK = "SELECT n.id FROM gateway.notifications n WHERE n.id = ANY($1::uuid[]) ORDER BY n.id FOR NO KEY UPDATE"

# Under the locks of the statement before: of two replays the second finds another status, and does nothing. A row of
# the outbox may be there still, of a relay that died between confirm and delete: the new one takes its place.
_REPLAY = """
WITH wanted AS (
    SELECT * FROM unnest(
        $1::uuid[], $2::uuid[], $3::integer[], $4::text[], $5::bytea[], $6::text[], $7::timestamptz[], $8::json[]
    ) AS w (letter_id, notification_id, generation, queue, body, key, at, detail)
), again AS (
    UPDATE gateway.notifications n
    SET status = 'pending', stage = NULL, generation = w.generation, rank = 0, attempts = 0, reason = NULL,
        error = NULL, next_expected_at = NULL, updated_at = now()
    FROM wanted w
    WHERE n.id = w.notification_id AND n.id = ANY($2::uuid[]) AND n.status = 'failed'
      AND n.generation = w.generation - 1
      AND n.user_id <> ALL(ARRAY(SELECT e.user_id FROM gateway.erased_users e WHERE e.user_id = ANY($10::uuid[])))
    RETURNING n.id, n.correlation_id, n.caller_id
), marked AS (
    UPDATE gateway.dead_letters d SET replayed_at = now(), replayed_by = $9
    FROM wanted w JOIN again a ON a.id = w.notification_id
    WHERE d.id = w.letter_id AND d.id = ANY($1::uuid[])
), queued AS (
    INSERT INTO gateway.outbox (notification_id, generation, caller_id, queue, correlation_id, body)
    SELECT w.notification_id, w.generation, a.caller_id, w.queue, a.correlation_id, w.body
    FROM wanted w JOIN again a ON a.id = w.notification_id ORDER BY w.notification_id
    ON CONFLICT (notification_id) DO UPDATE
    SET generation = excluded.generation, queue = excluded.queue, body = excluded.body, available_at = now(),
        lease_until = NULL
), watched AS (
    UPDATE gateway.watched_notifications c SET look_at = now(), quiet_since = NULL, requeued = 0
    FROM again a WHERE c.notification_id = a.id AND c.notification_id = ANY($2::uuid[])
), noted AS (
    INSERT INTO gateway.notification_events (notification_id, key, kind, at, detail)
    SELECT w.notification_id, w.key, CASE WHEN $9::uuid IS NULL THEN 'requeued' ELSE 'replayed' END, w.at, w.detail
    FROM wanted w JOIN again a ON a.id = w.notification_id ORDER BY w.notification_id
    ON CONFLICT DO NOTHING
)
SELECT w.letter_id FROM wanted w JOIN again a ON a.id = w.notification_id
"""

_FIRST = UUID(int=0)


class DeadLetters:
    """Keeps dead letters, tells of them, and queues them anew."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, letters: Sequence[Letter]) -> None:
        """One that is kept already stays as it is. Raises RowsRefused for bad data; nothing is written then."""
        columns = list(zip(*(msgspec.structs.astuple(letter) for letter in letters), strict=True))
        async with self._database.transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock_shared($1)", TOMBSTONES)
            try:
                await connection.execute(_KEEP, *columns)
            except BAD_DATA as error:
                raise RowsRefused(type(error).__name__) from error

    async def groups(self, wanted: LettersWanted, *, limit: int, offset: int) -> tuple[list[DeadLetterGroup], int]:
        """The largest first, and how many there are in all."""
        given = _conditions(wanted)
        values = [value for _, value in given]
        rows = await self._database.fetch(_GROUPS.format(conditions=_sql(given, first=3)), limit, offset, *values)
        total = await self._database.fetchval(_CAUSES.format(conditions=_sql(given, first=1)), *values)
        shown = await self._database.fetch(_SOME, [key for row in rows for key in row["examples"]])
        examples = {row["dead_letter_id"]: DeadLetter(**dict(row)) for row in shown}
        return [_group(row, examples) for row in rows], int(total)

    async def page(self, wanted: LettersWanted, *, limit: int, offset: int) -> tuple[list[DeadLetter], int]:
        """The newest first, and how many there are in all."""
        given = _conditions(wanted)
        values = [value for _, value in given]
        rows = await self._database.fetch(_PAGE.format(conditions=_sql(given, first=3)), limit, offset, *values)
        total = await self._database.fetchval(_COUNT.format(conditions=_sql(given, first=1)), *values)
        return [DeadLetter(**dict(row)) for row in rows], int(total)

    async def candidates(self, wanted: LettersWanted, *, after: UUID | None, limit: int) -> list[Candidate]:
        """By their ids, from the one after `after` on."""
        given = _conditions(wanted)
        sql = _CANDIDATES.format(conditions=_sql(given, first=3))
        rows = await self._database.fetch(sql, limit, after or _FIRST, *(value for _, value in given))
        return [Candidate(**dict(row)) for row in rows]

    async def standings(self, notification_ids: Sequence[UUID]) -> dict[UUID, Standing]:
        """Of those that are there."""
        rows = await self._database.fetch(_STANDINGS, list(notification_ids))
        return {row["notification_id"]: Standing(**dict(row)) for row in rows}

    async def bodies(self, letter_ids: Sequence[UUID]) -> dict[UUID, bytes]:
        """Of those that have one."""
        return {row["id"]: row["body"] for row in await self._database.fetch(_BODIES, list(letter_ids))}

    async def replay(self, batch: Sequence[Requeue], *, by: UUID | None) -> set[UUID]:
        """Back to pending and into the outbox, in one commit; answers the letters of those that still had failed.

        At most one letter of a notification.
        """
        async with self._database.transaction() as connection:
            keys = [again.notification_id for again in batch]
            await connection.execute(_WATCH, keys)
            await connection.execute(_LOCK, keys)
            return await _replayed(connection, batch, by)


async def _replayed(connection: Connection, batch: Sequence[Requeue], by: UUID | None) -> set[UUID]:
    rows = await connection.fetch(
        _REPLAY,
        [again.letter_id for again in batch],
        [again.notification_id for again in batch],
        [again.generation for again in batch],
        [again.queue for again in batch],
        [again.body for again in batch],
        [again.step.key for again in batch],
        [again.step.at for again in batch],
        [again.step.detail for again in batch],
        by,
        [again.user_id for again in batch],
    )
    return {row["letter_id"] for row in rows}


def _conditions(wanted: LettersWanted) -> Sequence[tuple[str, Any]]:
    offered = (
        ("d.id = ANY(${}::uuid[])", wanted.ids),
        ("d.cause = ${}", wanted.cause),
        ("d.template_code = ${}", wanted.template_code),
        ("d.channel = ${}", wanted.channel),
        ("d.died_at >= ${}", bounded(wanted.died_from)),
        ("d.died_at < ${}", bounded(wanted.died_to)),
        ("(d.replayed_at IS NOT NULL) = ${}", wanted.replayed),
    )
    return [(sql, value) for sql, value in offered if value is not None]


def _sql(conditions: Sequence[tuple[str, Any]], *, first: int) -> str:
    return " AND ".join(sql.format(number) for number, (sql, _) in enumerate(conditions, first)) or "true"


def _group(row: Row, examples: Mapping[UUID, DeadLetter]) -> DeadLetterGroup:
    return DeadLetterGroup(
        cause=row["cause"],
        count=row["count"],
        first_died_at=row["first_died_at"],
        last_died_at=row["last_died_at"],
        examples=[examples[key] for key in row["examples"] if key in examples],
    )
