"""The audit trail's old end, for those who do not keep it for ever."""

from datetime import UTC, datetime, timedelta

from carillon.kit.database import Database
from carillon.kit.ids import first_key_of

# By the key, which is in the order of time.
_DROP_OLD = """
DELETE FROM users.audit_events WHERE id = ANY(ARRAY(
    SELECT id FROM users.audit_events WHERE id < $1 AND at < now() - $2 * interval '1 day'
    ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED
))
RETURNING 1
"""


class AuditTrail:
    """Only ever shortened from its old end."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def drop_old(self, *, older_than_days: int, limit: int) -> int:
        """How many events went; at most `limit`."""
        before = first_key_of(datetime.now(UTC) - timedelta(days=older_than_days))
        return len(await self._database.fetch(_DROP_OLD, before, older_than_days, limit))
