"""Recording reports: the greatest (generation, rank) stands, every step is kept once."""

from collections.abc import Sequence
from uuid import UUID

from carillon.contracts.messages import DeliveryReported, Step
from carillon.gateway.errors import RowsRefused
from carillon.gateway.store.session import BAD_DATA
from carillon.gateway.watching import Wait
from carillon.kit.database import Database

# The rows are locked in the order of their keys first: two recorders with the same notifications queue up, they do not
# run into a deadlock. What is not found here is not written below.
RECORD = """
WITH locked AS MATERIALIZED (
    SELECT n.id FROM gateway.notifications n WHERE n.id = ANY($1::uuid[]) ORDER BY n.id FOR NO KEY UPDATE
), changed AS (
    UPDATE gateway.notifications n
    SET status = r.status, stage = r.stage, generation = r.generation, rank = r.rank, reason = r.reason,
        error = r.error, next_expected_at = r.next_expected_at, updated_at = now(),
        attempts = CASE WHEN r.generation > n.generation THEN r.attempts ELSE greatest(n.attempts, r.attempts) END
    FROM unnest(
        $1::uuid[], $2::integer[], $3::integer[], $4::text[], $5::text[], $6::text[], $7::text[], $8::integer[],
        $9::timestamptz[]
    ) AS r (id, generation, rank, status, stage, reason, error, attempts, next_expected_at)
    WHERE (SELECT count(*) FROM locked) > 0
      AND n.id = r.id AND n.id = ANY($1::uuid[]) AND (r.generation, r.rank) > (n.generation, n.rank)
), noted AS (
    INSERT INTO gateway.notification_events (notification_id, key, kind, at, reason, attempt, provider, detail)
    SELECT * FROM unnest(
        $10::uuid[], $11::text[], $12::text[], $13::timestamptz[], $14::text[], $15::integer[], $16::text[],
        $17::json[]
    ) AS e (notification_id, key, kind, at, reason, attempt, provider, detail)
    WHERE (SELECT count(*) FROM locked) = cardinality($1) OR e.notification_id = ANY(ARRAY(SELECT id FROM locked))
    ORDER BY e.notification_id, e.key
    ON CONFLICT DO NOTHING
)
SELECT id FROM locked
"""

# What would be later by less than a tenth is not worth a write: a report that comes again writes nothing.
EXPECT = """
WITH locked AS MATERIALIZED (
    SELECT n.id FROM gateway.notifications n WHERE n.id = ANY($1::uuid[]) ORDER BY n.id FOR NO KEY UPDATE
)
UPDATE gateway.notifications n
SET next_expected_at = now() + w.seconds * interval '1 second', updated_at = now()
FROM unnest($1::uuid[], $2::integer[], $3::float8[]) AS w (id, generation, seconds)
WHERE (SELECT count(*) FROM locked) > 0
  AND n.id = w.id AND n.id = ANY($1::uuid[]) AND n.status = 'pending' AND n.generation = w.generation
  AND (n.next_expected_at IS NULL OR n.next_expected_at < now() + 0.9 * w.seconds * interval '1 second')
"""


class Reports:
    """Writes what the workers found."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, reports: Sequence[DeliveryReported], steps: Sequence[tuple[UUID, Step]]) -> set[UUID]:
        """Apply at most one report per notification, and any number of steps; answers the ids that exist.

        Raises RowsRefused when one of them is bad data; nothing is written then.
        """
        columns = [*_transposed([_report(r) for r in reports], 9), *_transposed([_event(*s) for s in steps], 8)]
        async with self._database.connection() as connection:
            try:
                return {row[0] for row in await connection.fetch(RECORD, *columns)}
            except BAD_DATA as error:
                raise RowsRefused(type(error).__name__) from error

    async def expect(self, waits: Sequence[Wait]) -> None:
        """By the database's clock, and later than what was expected; an ending or another generation stands."""
        columns = [(wait.notification_id, wait.generation, wait.seconds) for wait in waits]
        await self._database.execute(EXPECT, *_transposed(columns, 3))


def _report(r: DeliveryReported) -> tuple[object, ...]:
    return (
        r.notification_id, r.generation, r.rank, r.status, r.stage, r.reason, r.error, r.attempts, r.next_expected_at,
    )  # fmt: skip


def _event(key: UUID, s: Step) -> tuple[object, ...]:
    return key, s.key, s.kind, s.at, s.reason, s.attempt, s.provider, s.detail


def _transposed(rows: Sequence[tuple[object, ...]], width: int) -> list[Sequence[object]]:
    return list(zip(*rows, strict=True)) if rows else [()] * width
