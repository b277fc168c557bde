"""What every process of the gateway has counted, by the minute: each writes its own rows, and reads the others'."""

from collections import Counter
from collections.abc import Mapping, Sequence
from uuid import UUID

from carillon.kit.database import Database

_NAMES = ("accepted", "delivered", "failed", "suppressed")

# The whole count each time, not what came since: writing it again does no harm.
_WRITE = """
INSERT INTO gateway.minute_counts (minute, process_id, accepted, delivered, failed, suppressed)
SELECT minute, $1, accepted, delivered, failed, suppressed
FROM unnest($2::bigint[], $3::integer[], $4::integer[], $5::integer[], $6::integer[])
    AS c (minute, accepted, delivered, failed, suppressed)
ON CONFLICT (minute, process_id) DO UPDATE
SET accepted = excluded.accepted, delivered = excluded.delivered, failed = excluded.failed,
    suppressed = excluded.suppressed
"""
_READ = """
SELECT minute, sum(accepted)::bigint AS accepted, sum(delivered)::bigint AS delivered, sum(failed)::bigint AS failed,
    sum(suppressed)::bigint AS suppressed
FROM gateway.minute_counts WHERE process_id <> $1 GROUP BY minute
"""
_DROP = """
DELETE FROM gateway.minute_counts
WHERE minute < extract(epoch FROM now())::bigint / 60 - 120
  AND (minute, process_id) IN (
    SELECT minute, process_id FROM gateway.minute_counts
    WHERE minute < extract(epoch FROM now())::bigint / 60 - 120
    ORDER BY minute, process_id FOR UPDATE SKIP LOCKED
)
"""


class MinuteCounts:
    """Of one process; `process_id` is new with each start."""

    def __init__(self, database: Database, process_id: UUID) -> None:
        self._database = database
        self._process_id = process_id

    async def exchange(self, own: Mapping[int, Mapping[str, int]]) -> dict[int, Counter[str]]:
        """Write one's own, read what the others have written; what is older than two hours goes."""
        columns: list[Sequence[int]] = [
            list(own),
            *([counts.get(name, 0) for counts in own.values()] for name in _NAMES),
        ]
        async with self._database.transaction() as connection:
            await connection.execute(_WRITE, self._process_id, *columns)
            await connection.execute(_DROP)
            rows = await connection.fetch(_READ, self._process_id)
        return {row["minute"]: Counter({name: row[name] for name in _NAMES}) for row in rows}
