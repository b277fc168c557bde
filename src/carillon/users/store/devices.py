"""Devices: one row per token, owned by one user at a time.

Locks are taken in one order, so that users who take each other's tokens at once wait instead of deadlocking: the token,
then the users concerned by id, then rows of devices.
"""

from uuid import UUID

from carillon.kit.database import Connection, Database
from carillon.kit.ids import uuid7
from carillon.users.store.changes import touch

PLATFORM = "fcm"
_LOCK_TOKEN = "SELECT pg_advisory_xact_lock(hashtextextended($1 || ':' || $2, 0))"  # noqa: S105 - a statement
_LOCK_USERS = """
SELECT id FROM users.users
WHERE id = $1 OR id = (SELECT user_id FROM users.devices WHERE platform = $2 AND token = $3)
ORDER BY id FOR NO KEY UPDATE
"""
# Never two push tokens of one user, and never one token with two users: the old one goes, the new one comes or moves.
_DROP = "DELETE FROM users.devices WHERE user_id = $1 AND is_push_token AND token IS DISTINCT FROM $2"
_HOLDER = "SELECT user_id FROM users.devices WHERE platform = $1 AND token = $2"
_GIVE = """
INSERT INTO users.devices (id, user_id, platform, token, is_push_token) VALUES ($1, $2, $3, $4, true)
ON CONFLICT (platform, token) DO UPDATE SET user_id = excluded.user_id, is_push_token = true, updated_at = now(),
    invalid_at = NULL, invalid_reason = NULL
"""
_INVALIDATE = """
UPDATE users.devices SET invalid_at = now(), invalid_reason = $3, updated_at = now()
WHERE user_id = $1 AND token = $2 AND invalid_at IS NULL RETURNING id
"""


class Devices:
    """Push tokens: set, moved, marked dead."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put_push_token(self, user_id: UUID, token: str | None, *, actor_id: UUID, anyone: bool) -> bool:
        """Replace the user's push token; a token of somebody else moves. False when `actor_id` may not."""
        async with self._database.transaction() as connection:
            if token is not None:
                await lock_for_token(connection, user_id, token)
            touched = await touch(connection, user_id, actor_id=actor_id, anyone=anyone, action="push_token_changed")
            if touched is None:
                return False
            await connection.execute(_DROP, user_id, token)
            if token is not None:
                await give_push_token(connection, user_id, token)
            return True

    async def mark_gone(self, user_id: UUID, token: str, reason: str, *, actor_id: UUID) -> bool:
        """False when the token is not this user's, or is known to be dead."""
        async with self._database.transaction() as connection:
            await lock_for_token(connection, user_id, token)
            if await connection.fetchval(_INVALIDATE, user_id, token, reason) is None:
                return False
            await touch(connection, user_id, actor_id=actor_id, anyone=True, action="device_invalidated")
            return True


async def lock_for_token(connection: Connection, user_id: UUID, token: str) -> None:
    """Keep the token, its holder and the user still until the transaction ends."""
    await connection.execute(_LOCK_TOKEN, PLATFORM, token)
    await connection.execute(_LOCK_USERS, user_id, PLATFORM, token)


async def give_push_token(connection: Connection, user_id: UUID, token: str) -> None:
    """Make the token this user's, under `lock_for_token`; the user who had it is told of as changed."""
    holder: UUID | None = await connection.fetchval(_HOLDER, PLATFORM, token)
    await connection.execute(_GIVE, uuid7(), user_id, PLATFORM, token)
    if holder is not None and holder != user_id:
        await touch(connection, holder, actor_id=user_id, anyone=True, action="push_token_moved_away")
