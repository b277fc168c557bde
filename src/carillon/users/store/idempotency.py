"""Keys of creates: written in the transaction that creates, so that either both are there or neither."""

from uuid import UUID

from carillon.kit.database import Connection, Database
from carillon.kit.errors import Unavailable
from carillon.kit.ids import uuid7
from carillon.users.domain.idempotency import Once
from carillon.users.errors import AlreadyMade, IdempotencyKeyReused

KEPT_SECONDS = 86_400.0
# Whoever comes second waits here for the first to commit or to fail.
_CLAIM = """
INSERT INTO users.idempotency_keys AS k (id, caller, key, fingerprint, resource_id) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (caller, key) DO UPDATE
SET fingerprint = excluded.fingerprint, resource_id = excluded.resource_id, created_at = now()
WHERE k.created_at < now() - make_interval(secs => $6)
RETURNING id
"""
_FIND = """
SELECT fingerprint, resource_id FROM users.idempotency_keys
WHERE caller = $1 AND key = $2 AND created_at >= now() - make_interval(secs => $3)
"""
_RELEASE = "DELETE FROM users.idempotency_keys WHERE caller = $1 AND key = $2"
_DROP_OLD = """
DELETE FROM users.idempotency_keys WHERE id = ANY(ARRAY(
    SELECT id FROM users.idempotency_keys WHERE created_at < now() - make_interval(secs => $1)
    ORDER BY created_at LIMIT $2
)) RETURNING id
"""


class IdempotencyKeys:
    """What was made under which key, for a day."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def made(self, once: Once | None) -> UUID | None:
        """What was made under this key before. Raises IdempotencyKeyReused."""
        if once is None:
            return None
        async with self._database.connection() as connection:
            return await _made(connection, once)

    async def drop_old_keys(self, *, older_than_seconds: float, limit: int) -> int:
        """How many were dropped; at most `limit`."""
        return len(await self._database.fetch(_DROP_OLD, older_than_seconds, limit))


async def claim(connection: Connection, once: Once | None, resource_id: UUID) -> None:
    """Before anything else in the transaction that makes `resource_id`; nothing is asked of a create without a key.

    Raises AlreadyMade where the same was made under this key, IdempotencyKeyReused where it was something else.
    """
    if once is None:
        return
    terms = (uuid7(), once.caller, once.key, once.fingerprint, resource_id, KEPT_SECONDS)
    if await connection.fetchval(_CLAIM, *terms) is not None:
        return
    made = await _made(connection, once)
    if made is None:
        raise Unavailable("What this key has made is being dropped at this moment: try again.")
    raise AlreadyMade(made)


async def release(connection: Connection, once: Once | None) -> None:
    """Nothing was made after all, and the transaction is committed nevertheless."""
    if once is not None:
        await connection.execute(_RELEASE, once.caller, once.key)


async def _made(connection: Connection, once: Once) -> UUID | None:
    row = await connection.fetchrow(_FIND, once.caller, once.key, KEPT_SECONDS)
    if row is None:
        return None
    if row["fingerprint"] != once.fingerprint:
        raise IdempotencyKeyReused
    made: UUID = row["resource_id"]
    return made
