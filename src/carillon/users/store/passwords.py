"""A password in the place of another: with it sessions end, tokens are void, and the owner is told."""

from dataclasses import dataclass
from uuid import UUID

from carillon.kit.database import Connection, Database
from carillon.users.domain.account_mail import Mail
from carillon.users.domain.people import email_key
from carillon.users.store.account_mail import put_mail
from carillon.users.store.changes import touch
from carillon.users.store.one_time_tokens import used_token, void_tokens

_OWNER = """
SELECT name, email, password_hash FROM users.users WHERE id = $1 AND status = 'active' AND password_hash IS NOT NULL
"""
_LOCKED = """
SELECT email_key, email_verified_at, password_hash FROM users.users WHERE id = $1 AND status = 'active' FOR UPDATE
"""
# An address that waits may have been named by whoever is being locked out, and would let them in again.
_SET = """
UPDATE users.users SET password_hash = $2, password_changed_at = now(), pending_email = NULL WHERE id = $1
"""
_VERIFIED = "UPDATE users.users SET email_verified_at = coalesce(email_verified_at, now()) WHERE id = $1"
_REVOKE_TOKENS = (
    """
UPDATE users.personal_access_tokens SET revoked_at = now()
WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > now()
""",
    "DELETE FROM users.passkeys WHERE user_id = $1",
)
_END_SESSIONS = """
UPDATE users.sessions SET revoked_at = now(), revoked_reason = $2
WHERE user_id = $1 AND revoked_at IS NULL AND id IS DISTINCT FROM $3
"""
# Nobody had shown until then that the address is theirs: what goes with the account may be of somebody who registered
# it in the place of its owner.
_OF_STRANGERS = (
    "UPDATE users.personal_access_tokens SET revoked_at = now() WHERE user_id = $1 AND revoked_at IS NULL",
    "DELETE FROM users.devices WHERE user_id = $1",
    "DELETE FROM users.passkeys WHERE user_id = $1",
)


@dataclass(frozen=True, slots=True)
class Owner:
    """What the rules ask of the owner of a password."""

    name: str
    email: str | None
    password_hash: str


class PasswordStore:
    """Changes by their owner, and resets by whoever holds the token of a mail."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def owner(self, user_id: UUID) -> Owner | None:
        row = await self._database.fetchrow(_OWNER, user_id)
        return None if row is None else Owner(row["name"], row["email"], row["password_hash"])

    async def change(self, user_id: UUID, *, kept: str, renewed: str, staying: UUID | None, notice: Mail) -> bool:
        """End all sessions but `staying`. False where `kept` is no longer the hash."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_LOCKED, user_id)
            if row is None or row["password_hash"] != kept:
                return False
            await _set(connection, user_id, renewed, "password_changed", staying=staying)
            await put_mail(connection, notice)
            return True

    async def reset(self, secret_hash: bytes, *, renewed: str, revoke_tokens: bool, notice: Mail) -> bool:
        """Use the token, end every session; whoever read the mail has shown that the address is theirs. Who is the
        first to show it takes over nobody's tokens and devices."""
        async with self._database.transaction() as connection:
            used = await used_token(connection, secret_hash, "password_reset")
            if used is None:
                return False
            row = await connection.fetchrow(_LOCKED, used.user_id)
            if row is None:
                return False
            await _set(connection, used.user_id, renewed, "password_reset", staying=None)
            if row["email_key"] == email_key(used.email):
                await connection.execute(_VERIFIED, used.user_id)
            if row["email_verified_at"] is None and row["password_hash"] is not None:
                for statement in _OF_STRANGERS:
                    await connection.execute(statement, used.user_id)
            if revoke_tokens:
                for statement in _REVOKE_TOKENS:
                    await connection.execute(statement, used.user_id)
            await put_mail(connection, notice)
            return True


async def _set(connection: Connection, user_id: UUID, renewed: str, action: str, *, staying: UUID | None) -> None:
    await touch(connection, user_id, actor_id=user_id, anyone=False, action=action, revokes=True)
    await connection.execute(_SET, user_id, renewed)
    await connection.execute(_END_SESSIONS, user_id, action, staying)
    await void_tokens(connection, user_id, "password_reset")
