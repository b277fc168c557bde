"""Devices: one row per token, owned by one user at a time.

Locks are taken in one order, so that users who take each other's tokens at once wait instead of deadlocking: the token,
then the users concerned by id, then rows of devices.
"""

from typing import Final
from uuid import UUID

import msgspec

from carillon.contracts.people import KnownDevice
from carillon.contracts.users import DevicePlatform
from carillon.kit.database import Connection, Database, Row
from carillon.kit.ids import uuid7
from carillon.users.domain.devices import MOST_DEVICES, NewDevice
from carillon.users.domain.roles import Actor
from carillon.users.errors import TooManyDevices
from carillon.users.store.changes import touch, touch_as

PUSH_TOKEN: Final = "fcm"  # noqa: S105 - the platform of the token that the route of that name sets
_LOCK_TOKEN = "SELECT pg_advisory_xact_lock(hashtextextended($1 || ':' || $2, 0))"  # noqa: S105 - a statement
_LOCK_USERS = """
SELECT id FROM users.users
WHERE id = $1 OR id = (SELECT user_id FROM users.devices WHERE platform = $2 AND token = $3)
ORDER BY id FOR NO KEY UPDATE
"""
_LOCK_USER = "SELECT id FROM users.users WHERE id = $1 AND (id = $2 OR $3) AND status <> 'erased' FOR NO KEY UPDATE"
_COLUMNS = """id AS device_id, platform, token, name, is_push_token, created_at, updated_at, invalid_at,
    invalid_reason"""
_OF_USER = f"""
SELECT u.id AS user_id, d.* FROM users.users u
LEFT JOIN LATERAL (
    SELECT {_COLUMNS} FROM users.devices WHERE user_id = u.id AND ($4::uuid IS NULL OR id = $4) ORDER BY id
) d ON true
WHERE u.id = $1 AND (u.id = $2 OR $3) AND u.status <> 'erased' ORDER BY d.device_id
"""  # noqa: S608 - made of constants
# Never two push tokens of one user, and never one token with two users: the old one goes, the new one comes or moves.
_DROP = "DELETE FROM users.devices WHERE user_id = $1 AND is_push_token AND token IS DISTINCT FROM $2"
_HOLDER = "SELECT user_id FROM users.devices WHERE platform = $1 AND token = $2"
_COUNT = "SELECT count(*) FROM users.devices WHERE user_id = $1"
# Dead devices make room, the one that died first before the others.
_BURY = """
DELETE FROM users.devices WHERE id = (
    SELECT id FROM users.devices WHERE user_id = $1 AND invalid_at IS NOT NULL ORDER BY invalid_at LIMIT 1
) RETURNING id
"""
# A device that moves is another device to its new owner: neither its id nor its name goes with it.
_GIVE = f"""
INSERT INTO users.devices AS d (id, user_id, platform, token, is_push_token, name, keys)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (platform, token) DO UPDATE SET
    id = CASE WHEN d.user_id = excluded.user_id THEN d.id ELSE excluded.id END,
    is_push_token = excluded.is_push_token OR (d.user_id = excluded.user_id AND d.is_push_token),
    created_at = CASE WHEN d.user_id = excluded.user_id THEN d.created_at ELSE now() END,
    name = CASE WHEN d.user_id = excluded.user_id AND excluded.name = '' THEN d.name ELSE excluded.name END,
    user_id = excluded.user_id, keys = excluded.keys, updated_at = now(),
    invalid_at = NULL, invalid_reason = NULL
RETURNING {_COLUMNS}
"""  # noqa: S608 - made of constants
_REMOVE = f"DELETE FROM users.devices WHERE user_id = $1 AND id = $2 RETURNING {_COLUMNS}"  # noqa: S608 - as above
_INVALIDATE = """
UPDATE users.devices SET invalid_at = now(), invalid_reason = $4, updated_at = now()
WHERE user_id = $1 AND platform = $2 AND token = $3 AND invalid_at IS NULL RETURNING id
"""


class Devices:
    """Devices: registered, moved, seen, removed, marked dead."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_user(
        self, user_id: UUID, *, device_id: UUID | None = None, seen_by: UUID, sees_all: bool
    ) -> list[KnownDevice] | None:
        """The oldest first, the dead ones too, or that of `device_id`; None for a user that `seen_by` may not see."""
        rows = await self._database.fetch(_OF_USER, user_id, seen_by, sees_all, device_id)
        return [_known(row) for row in rows if row["device_id"] is not None] if rows else None

    async def register(self, user_id: UUID, device: NewDevice, *, by: Actor) -> tuple[KnownDevice, bool] | None:
        """The device, and whether it is new to this user; None when `by` may not. Raises CannotActOn,
        TooManyDevices."""
        async with self._database.transaction() as connection:
            holder = await lock_for_token(connection, user_id, device.platform, device.token)
            action = "device_registered" if holder != user_id else "device_changed"
            detail = {"platform": device.platform}
            if await touch_as(connection, user_id, by, action=action, detail=detail) is None:
                return None
            if holder != user_id:
                await _make_room(connection, user_id)
            return await give(connection, user_id, device, by=by.actor_id), holder != user_id

    async def remove(self, user_id: UUID, device_id: UUID, *, by: Actor) -> KnownDevice | None:
        """What was removed; None when there is no such device of this user, or no user that `by` may change. Raises
        CannotActOn."""
        async with self._database.transaction() as connection:
            if await connection.fetchval(_LOCK_USER, user_id, by.actor_id, by.anyone) is None:
                return None
            row = await connection.fetchrow(_REMOVE, user_id, device_id)
            if row is None:
                return None
            action, detail = "device_removed", {"device_id": str(device_id), "platform": row["platform"]}
            await touch_as(connection, user_id, by, action=action, detail=detail)
            return _known(row)

    async def put_push_token(self, user_id: UUID, token: str | None, *, by: Actor) -> bool:
        """Replace the user's push token; a token of somebody else moves. False when `by` may not.

        Raises CannotActOn, TooManyDevices.
        """
        async with self._database.transaction() as connection:
            holder = None if token is None else await lock_for_token(connection, user_id, PUSH_TOKEN, token)
            if await touch_as(connection, user_id, by, action="push_token_changed") is None:
                return False
            await connection.execute(_DROP, user_id, token)
            if token is not None:
                if holder != user_id:
                    await _make_room(connection, user_id)
                await give(connection, user_id, NewDevice(PUSH_TOKEN, token), is_push_token=True, by=by.actor_id)
            return True

    async def mark_gone(
        self, user_id: UUID, platform: DevicePlatform, token: str, reason: str, *, actor_id: UUID
    ) -> bool:
        """False when the token is not this user's, or is known to be dead."""
        async with self._database.transaction() as connection:
            await lock_for_token(connection, user_id, platform, token)
            device_id = await connection.fetchval(_INVALIDATE, user_id, platform, token, reason)
            if device_id is None:
                return False
            detail = {"device_id": str(device_id), "reason": reason}
            action = "device_invalidated"
            await touch(connection, user_id, actor_id=actor_id, anyone=True, action=action, detail=detail)
            return True


async def lock_for_token(connection: Connection, user_id: UUID, platform: DevicePlatform, token: str) -> UUID | None:
    """Keep the token, its holder and the user still until the transaction ends; who holds the token."""
    await connection.execute(_LOCK_TOKEN, platform, token)
    await connection.execute(_LOCK_USERS, user_id, platform, token)
    holder: UUID | None = await connection.fetchval(_HOLDER, platform, token)
    return holder


async def give(
    connection: Connection, user_id: UUID, device: NewDevice, *, is_push_token: bool = False, by: UUID
) -> KnownDevice:
    """Make the token this user's, under `lock_for_token`; the user who had it is told of as changed."""
    holder: UUID | None = await connection.fetchval(_HOLDER, device.platform, device.token)
    keys = msgspec.to_builtins(device.keys) if device.keys else None
    row = await connection.fetchrow(
        _GIVE, uuid7(), user_id, device.platform, device.token, is_push_token, device.name, keys
    )
    assert row is not None, "the row was written by this statement"
    if holder is not None and holder != user_id:
        detail = {"platform": device.platform}
        await touch(connection, holder, actor_id=by, anyone=True, action="device_moved_away", detail=detail)
    return _known(row)


async def _make_room(connection: Connection, user_id: UUID) -> None:
    if await connection.fetchval(_COUNT, user_id) < MOST_DEVICES:
        return
    if await connection.fetchval(_BURY, user_id) is None:
        raise TooManyDevices(MOST_DEVICES)


def _known(row: Row) -> KnownDevice:
    return KnownDevice(**{name: row[name] for name in KnownDevice.__struct_fields__})
