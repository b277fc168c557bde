"""Secrets sent by mail: kept as hashes, good for one purpose, once; the newest voids those before it."""

from uuid import UUID

import asyncpg

from carillon.kit.database import Connection, Database, Row
from carillon.kit.ids import uuid7
from carillon.users.domain.account_mail import Addressee, Mail, Purpose
from carillon.users.domain.people import email_key
from carillon.users.errors import EmailTaken
from carillon.users.store.account_mail import put_mail, taken
from carillon.users.store.changes import audit, touch

# Where nobody may register, a contact does not become an account by asking for a password.
_FOR_RESET = """
SELECT id, name, email FROM users.users
WHERE email_key = $1 AND status = 'active' AND (password_hash IS NOT NULL OR $2)
"""
_FOR_VERIFICATION = """
SELECT id, name, coalesce(pending_email, CASE WHEN email_verified_at IS NULL THEN email END) AS email
FROM users.users WHERE id = $1 AND status = 'active'
"""
_SUPPRESSED = "SELECT true FROM users.suppressed_addresses WHERE address_hash = sha256(convert_to($1, 'UTF8'))"
_LOCK = "SELECT email, pending_email FROM users.users WHERE id = $1 AND status = 'active' FOR UPDATE"
_RECENT = """
SELECT true FROM users.one_time_tokens WHERE user_id = $1 AND purpose = $2 AND email = $3 AND used_at IS NULL
    AND expires_at > now() AND created_at > now() - make_interval(secs => $4)
"""
_VOID = (
    "DELETE FROM users.one_time_tokens WHERE user_id = $1 AND ($2::text IS NULL OR purpose = $2) AND used_at IS NULL"
)
_ISSUE = """
INSERT INTO users.one_time_tokens (id, user_id, purpose, secret_hash, email, expires_at)
VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6))
"""
_GOOD = """
SELECT u.id, u.name, t.email FROM users.one_time_tokens t JOIN users.users u ON u.id = t.user_id
WHERE t.secret_hash = $1 AND t.purpose = $2 AND t.used_at IS NULL AND t.expires_at > now() AND u.status = 'active'
"""
# A second one at the same moment waits for the first, sees used_at, and changes nothing.
_USE = """
UPDATE users.one_time_tokens SET used_at = now()
WHERE secret_hash = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > now() RETURNING user_id, email
"""
_VERIFIED = "UPDATE users.users SET email_verified_at = coalesce(email_verified_at, now()) WHERE id = $1"
_MOVED = """
UPDATE users.users SET email = $2, email_key = $3, pending_email = NULL, email_verified_at = now() WHERE id = $1
"""
_DROP_ENDED = """
DELETE FROM users.one_time_tokens WHERE id = ANY(ARRAY(
    SELECT id FROM users.one_time_tokens WHERE expires_at < now() - make_interval(secs => $1)
    ORDER BY expires_at LIMIT $2
)) RETURNING id
"""


class OneTimeTokens:
    """Issued with the mail that carries them, in one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def to_reset(self, key: str, *, contacts_too: bool) -> Addressee | None:
        """Whose password may be set by whoever reads the mail of this address."""
        return _addressee(await self._database.fetchrow(_FOR_RESET, key, contacts_too))

    async def to_verify(self, user_id: UUID) -> Addressee | None:
        """None where nothing is to be confirmed, or where nobody may be written to."""
        found = _addressee(await self._database.fetchrow(_FOR_VERIFICATION, user_id))
        if found is None or await self._database.fetchval(_SUPPRESSED, email_key(found.email)):
            return None
        return found

    async def issue(
        self, asked_id: UUID, to: Addressee, purpose: Purpose, *, secret_hash: bytes, seconds: float, mail: Mail,
        quiet_seconds: float,
    ) -> bool:  # fmt: skip
        """In exchange for what was asked for. False, and no mail, where one went out within `quiet_seconds`."""
        async with self._database.transaction() as connection:
            if not await taken(connection, asked_id):
                return False
            row = await connection.fetchrow(_LOCK, to.user_id)
            if row is None or to.email not in (row["email"], row["pending_email"]):
                return False
            if await connection.fetchval(_RECENT, to.user_id, purpose, to.email, quiet_seconds):
                return False
            await connection.execute(_VOID, to.user_id, purpose)
            await connection.execute(_ISSUE, uuid7(), to.user_id, purpose, secret_hash, to.email, seconds)
            await put_mail(connection, mail)
            await audit(connection, f"{purpose}_asked", actor_id=None, subject_id=to.user_id)
            return True

    async def good(self, secret_hash: bytes, purpose: Purpose) -> Addressee | None:
        """Whose token this is, as long as it can be used."""
        return _addressee(await self._database.fetchrow(_GOOD, secret_hash, purpose))

    async def verify(self, secret_hash: bytes) -> UUID | None:
        """Confirm the address that the token was mailed to. None for a void token; raises EmailTaken."""
        async with self._database.transaction() as connection:
            used = await used_token(connection, secret_hash, "email_verification")
            if used is None:
                return None
            row = await connection.fetchrow(_LOCK, used.user_id)
            if row is None:
                return None
            if used.email == row["pending_email"]:
                await self._move(connection, used)
            elif used.email == row["email"]:
                await connection.execute(_VERIFIED, used.user_id)
                await _touched(connection, used.user_id, "email_verified")
            else:
                return None
            return used.user_id

    async def drop_ended(self, *, older_than_seconds: float, limit: int) -> int:
        """How many were dropped; at most `limit`."""
        return len(await self._database.fetch(_DROP_ENDED, older_than_seconds, limit))

    async def _move(self, connection: Connection, used: Addressee) -> None:
        try:
            await connection.execute(_MOVED, used.user_id, used.email, email_key(used.email))
        except asyncpg.UniqueViolationError:
            raise EmailTaken from None
        await connection.execute(_VOID, used.user_id, None)  # what was mailed to the old address
        await _touched(connection, used.user_id, "email_changed")


async def used_token(connection: Connection, secret_hash: bytes, purpose: Purpose) -> Addressee | None:
    """Use it up within the transaction of what it is used for; None where there is none, or no more."""
    row = await connection.fetchrow(_USE, secret_hash, purpose)
    return None if row is None else Addressee(row["user_id"], "", row["email"])


async def void_tokens(connection: Connection, user_id: UUID, purpose: Purpose) -> None:
    await connection.execute(_VOID, user_id, purpose)


async def _touched(connection: Connection, user_id: UUID, action: str) -> None:
    await touch(connection, user_id, actor_id=user_id, anyone=False, action=action)


def _addressee(row: Row | None) -> Addressee | None:
    return None if row is None or row["email"] is None else Addressee(row["id"], row["name"], row["email"])
