"""Writing acceptances: key, notification and outbox row in one statement, whoever comes second reads what there is."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from carillon.gateway.domain import Acceptance, Standing
from carillon.gateway.errors import RequestIdSpent, RowsRefused
from carillon.gateway.store.session import BAD_DATA, STAGE
from carillon.kit.database import Connection, Database, Row
from carillon.kit.ids import milliseconds_of

# What is the same in all rows is sent once, and NULLs alone not at all: unnest fills up with NULL.
ACCEPT = """
WITH given AS (
    SELECT id, request_id, user_id, category, metadata, body_hash, message, send_at, expires_at,
        coalesce(caller_id, ($2::uuid[])[1]) AS caller_id,
        coalesce(channel, ($4::text[])[1]) AS channel,
        coalesce(template_code, ($6::text[])[1]) AS template_code,
        coalesce(priority, ($7::smallint[])[1]) AS priority,
        coalesce(correlation_id, ($11::text[])[1]) AS correlation_id,
        coalesce(queue, ($13::text[])[1]) AS queue,
        to_timestamp(born / 1000.0::float8) AS created_at
    FROM unnest(
        $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::text[], $7::smallint[], $8::text[],
        $9::text[], $10::bytea[], $11::text[], $12::bigint[], $13::text[], $14::bytea[], $15::timestamptz[],
        $16::timestamptz[]
    ) AS g (
        id, caller_id, request_id, channel, user_id, template_code, priority, category,
        metadata, body_hash, correlation_id, born, queue, message, send_at, expires_at
    )
), fresh AS (
    INSERT INTO gateway.idempotency_keys (caller_id, request_id, notification_id, body_hash, message)
    SELECT caller_id, request_id, id, body_hash, message FROM given
    ON CONFLICT DO NOTHING
    RETURNING notification_id
), mine AS MATERIALIZED (
    -- Mostly all are fresh; then there is nothing to compare.
    SELECT * FROM given
    WHERE (SELECT count(*) FROM fresh) = cardinality($1) OR id = ANY(ARRAY(SELECT notification_id FROM fresh))
), kept AS (
    INSERT INTO gateway.notifications (
        id, caller_id, request_id, channel, user_id, template_code, priority, category,
        metadata, correlation_id, created_at, updated_at, send_at, expires_at, broadcast_id
    )
    SELECT id, caller_id, request_id, channel, user_id, template_code, priority, category,
           metadata::json, correlation_id, created_at, created_at, send_at, expires_at, $17::uuid
    FROM mine
)
INSERT INTO gateway.outbox (notification_id, caller_id, queue, correlation_id, body, available_at)
SELECT id, caller_id, queue, correlation_id, message, coalesce(send_at, now()) FROM mine
RETURNING notification_id
"""

FIND = f"""
SELECT asked.caller_id, asked.request_id, k.body_hash, n.*
FROM unnest($1::uuid[], $2::text[]) AS asked (caller_id, request_id)
CROSS JOIN LATERAL (
    SELECT k.body_hash, k.notification_id FROM gateway.idempotency_keys k
    WHERE k.caller_id = asked.caller_id AND k.request_id = asked.request_id
    OFFSET 0
) AS k
CROSS JOIN LATERAL (
    SELECT n.id, n.status, {STAGE} FROM gateway.notifications n WHERE n.id = k.notification_id OFFSET 0
) AS n
"""  # noqa: S608 - a constant of ours; OFFSET 0 keeps the order of the look-ups

_Key = tuple[UUID, str]


class Acceptances:
    """Commits batches of acceptances."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def accept(self, batch: Sequence[Acceptance]) -> list[Standing | RequestIdSpent]:
        """One standing per acceptance, in order, all committed; RequestIdSpent where a key outlived its notification.

        Raises RowsRefused when a row is bad data (nothing is written), Unavailable when the database is away: a batch
        whose commit was under way may then be there all the same.
        """
        fresh = await self._insert(batch)
        lost = [a for a in batch if a.notification_id not in fresh]
        present = await self._present([(a.caller_id, a.request_id) for a in lost]) if lost else {}
        return [
            Standing(a.notification_id, "pending", a.stage, a.body_hash, fresh=True)
            if a.notification_id in fresh
            else present.get((a.caller_id, a.request_id)) or RequestIdSpent()
            for a in batch
        ]

    async def find(self, caller_id: UUID, request_id: str) -> Standing | None:
        return (await self._present([(caller_id, request_id)])).get((caller_id, request_id))

    async def find_all(self, caller_id: UUID, request_ids: Sequence[str]) -> dict[str, Standing]:
        """By request_id, without those that there are not."""
        present = await self._present([(caller_id, request_id) for request_id in request_ids])
        return {request_id: standing for (_, request_id), standing in present.items()}

    async def _insert(self, batch: Sequence[Acceptance]) -> set[UUID]:
        async with self._database.connection() as connection:
            return await insert(connection, batch)

    async def _present(self, keys: Sequence[_Key]) -> dict[_Key, Standing]:
        rows = await self._database.fetch(FIND, [key[0] for key in keys], [key[1] for key in keys])
        return {(row["caller_id"], row["request_id"]): _standing(row) for row in rows}


async def insert(connection: Connection, batch: Sequence[Acceptance], *, broadcast_id: UUID | None = None) -> set[UUID]:
    """The ids of those that are new, within whatever transaction the connection is in. Raises RowsRefused."""
    # Sorted, so that two batches with the same keys wait for each other in the same order and never in a circle.
    rows = sorted(batch, key=lambda a: (a.caller_id, a.request_id))
    try:
        return {row[0] for row in await connection.fetch(ACCEPT, *_columns(rows), broadcast_id)}
    except BAD_DATA as error:
        raise RowsRefused(type(error).__name__) from error


def _columns(rows: Sequence[Acceptance]) -> tuple[list[Any], ...]:
    """As the statement takes them: asyncpg spends half a microsecond on each value, three times as much on a time."""
    return (
        [a.notification_id for a in rows],
        _once([a.caller_id for a in rows]),
        [a.request_id for a in rows],
        _once([a.channel for a in rows]),
        [a.user_id for a in rows],
        _once([a.template_code for a in rows]),
        _once([a.priority for a in rows]),
        _if_any([a.category for a in rows]),
        _if_any([a.metadata for a in rows]),
        [a.body_hash for a in rows],
        _once([a.correlation_id for a in rows]),
        [milliseconds_of(a.notification_id) for a in rows],
        _once([a.queue for a in rows]),
        [a.message for a in rows],
        _if_any([a.send_at for a in rows]),
        _if_any([a.expires_at for a in rows]),
    )


def _once(values: list[Any]) -> list[Any]:
    """Of a column without NULLs."""
    return values[:1] if values.count(values[0]) == len(values) else values


def _if_any(values: list[Any]) -> list[Any]:
    """Of a column that may hold NULLs."""
    return [] if values.count(None) == len(values) else values


def _standing(row: Row) -> Standing:
    return Standing(row["id"], row["status"], row["stage"], row["body_hash"], fresh=False)
