"""Suspending, restoring, erasing; under the same lock as rights, because all of them can end an administrator."""

import contextlib
import hashlib
from collections.abc import AsyncIterator
from uuid import UUID

from carillon.contracts.channels import ERASURES_QUEUE
from carillon.contracts.people import User
from carillon.kit.database import Database
from carillon.kit.ids import uuid7
from carillon.users.actions.telling import Told
from carillon.users.store.grants import ChangingGrants, lock_grants
from carillon.users.store.people import visible
from carillon.users.store.second_factors import drop_second_factor

_SET_STATUS = "UPDATE users.users SET status = $2 WHERE id = $1"
_END_SESSIONS = """
UPDATE users.sessions SET revoked_at = now(), revoked_reason = $2 WHERE user_id = $1 AND revoked_at IS NULL
"""
# An account that was taken over is not to come back to the thief by a link that was mailed before.
_END_MAILED = "DELETE FROM users.one_time_tokens WHERE user_id = $1 AND used_at IS NULL"
_FORGET_PENDING = "UPDATE users.users SET pending_email = NULL WHERE id = $1"
# Kept as a hash, so that the person is not written to again by whoever imports the address once more.
_TOMBSTONE = """
INSERT INTO users.suppressed_addresses (id, address_hash, reason)
SELECT $2, sha256(convert_to(email_key, 'UTF8')), 'erased' FROM users.users WHERE id = $1 AND email_key IS NOT NULL
ON CONFLICT (address_hash) DO NOTHING
"""
OWNED = (
    "devices", "login_challenges", "notification_preferences", "one_time_tokens", "passkey_challenges", "passkeys",
    "personal_access_tokens", "preference_changes", "recovery_codes", "second_factors", "sessions", "user_permissions",
    "user_roles",
)  # fmt: skip
"""The tables whose rows are a user's own, all of which go with the user."""
_DROP = tuple(f"DELETE FROM users.{table} WHERE user_id = $1" for table in OWNED)  # noqa: S608 - made of constants
_BLANK = """
UPDATE users.users SET name = '', email = NULL, email_key = NULL, email_verified_at = NULL, pending_email = NULL,
    password_hash = NULL, locale = NULL, timezone = NULL, attributes = '{}', status = 'erased'
WHERE id = $1
"""
_FORGET_DETAIL = "UPDATE users.audit_events SET detail = '{}' WHERE subject_id = $1 AND detail <> '{}'"
_FORGET_MAILS = "DELETE FROM users.outbox WHERE topic = 'account_mail' AND body ->> 'user_id' = $1::text"
_FORGET_KEYS = "DELETE FROM users.idempotency_keys WHERE resource_id = $1"
_ANNOUNCE = f"""
INSERT INTO users.outbox (id, topic, body) VALUES ($2, '{ERASURES_QUEUE}', jsonb_build_object('user_id', $1::uuid))
"""  # noqa: S608 - made of constants


class Administration:
    """`changing`: one change at a time, and no right is changed meanwhile."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextlib.asynccontextmanager
    async def changing(self) -> "AsyncIterator[ChangingPeople]":
        async with self._database.transaction() as connection:
            await lock_grants(connection)
            yield ChangingPeople(connection)


class ChangingPeople(ChangingGrants):
    """The statements of one change, all in its transaction."""

    async def suspend(self, user_id: UUID) -> None:
        await self._connection.execute(_SET_STATUS, user_id, "suspended")
        await self._connection.execute(_END_SESSIONS, user_id, "user_suspended")
        for statement in (_END_MAILED, _FORGET_PENDING):
            await self._connection.execute(statement, user_id)

    async def restore(self, user_id: UUID) -> None:
        await self._connection.execute(_SET_STATUS, user_id, "active")

    async def user(self, user_id: UUID) -> User:
        """One that was changed in this transaction."""
        return await visible(self._connection, user_id)

    async def drop_second_factor(self, user_id: UUID, told: Told) -> bool:
        """False where none is on."""
        return await drop_second_factor(self._connection, user_id, told)

    async def erase(self, user_id: UUID) -> None:
        """Everything that was a person's; what stays is the id, a hash of the address, and which acts there were."""
        await self._connection.execute(_TOMBSTONE, user_id, uuid7())
        for statement in (*_DROP, _BLANK, _FORGET_DETAIL, _FORGET_KEYS):
            await self._connection.execute(statement, user_id)
        await self._connection.execute(_FORGET_MAILS, str(user_id))
        await self._connection.execute(_ANNOUNCE, user_id, uuid7())


def address_hash(email_key: str) -> bytes:
    """What is kept of an address that is suppressed."""
    return hashlib.sha256(email_key.encode()).digest()
