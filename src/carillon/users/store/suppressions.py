"""Addresses that are not written to, kept as hashes."""

from datetime import datetime
from typing import Any
from uuid import UUID

from carillon.kit.database import Connection, Database
from carillon.kit.ids import uuid7
from carillon.users.store.administration import address_hash
from carillon.users.store.changes import audit, touch

_FIND = "SELECT reason, created_at FROM users.suppressed_addresses WHERE address_hash = $1"
_ADD = """
INSERT INTO users.suppressed_addresses (id, address_hash, reason) VALUES ($1, $2, $3)
ON CONFLICT (address_hash) DO NOTHING RETURNING created_at
"""
_LIFT = "DELETE FROM users.suppressed_addresses WHERE address_hash = $1 RETURNING reason"
_USER = "SELECT id FROM users.users WHERE email_key = $1"


class Suppressions:
    """By the key of an address; the user whose address it is, if there is one, is told of as changed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, email_key: str) -> tuple[str, datetime] | None:
        """The reason, and since when."""
        row = await self._database.fetchrow(_FIND, address_hash(email_key))
        return None if row is None else (row["reason"], row["created_at"])

    async def add(self, email_key: str, reason: str, *, actor_id: UUID) -> tuple[bool, UUID | None]:
        """Whether it is new, and whose address it is."""
        async with self._database.transaction() as connection:
            if await connection.fetchval(_ADD, uuid7(), address_hash(email_key), reason) is None:
                return False, None
            return True, await _told(connection, email_key, "address_suppressed", actor_id, {"reason": reason})

    async def lift(self, email_key: str, *, actor_id: UUID) -> tuple[bool, UUID | None]:
        """Whether there was one, and whose address it is."""
        async with self._database.transaction() as connection:
            reason = await connection.fetchval(_LIFT, address_hash(email_key))
            if reason is None:
                return False, None
            return True, await _told(connection, email_key, "suppression_lifted", actor_id, {"reason": reason})


async def _told(
    connection: Connection, email_key: str, action: str, actor_id: UUID, detail: dict[str, Any]
) -> UUID | None:
    user_id: UUID | None = await connection.fetchval(_USER, email_key)
    if user_id is None:
        await audit(connection, action, actor_id=actor_id, subject_id=None, detail=detail)
    else:
        await touch(connection, user_id, actor_id=actor_id, anyone=True, action=action, detail=detail)
    return user_id
