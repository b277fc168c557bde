"""Passkeys, and ceremonies under way."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from carillon.kit.database import Database, Row
from carillon.kit.ids import uuid7
from carillon.users.actions.telling import Told
from carillon.users.domain.passkeys import Credential, KnownPasskey, Passkey
from carillon.users.domain.tokens import Account
from carillon.users.errors import PasskeyTaken, PasskeyUnverified
from carillon.users.store.account_mail import put_notice
from carillon.users.store.changes import audit
from carillon.users.store.credentials import PERMISSIONS

_BEGIN = """
INSERT INTO users.passkey_challenges (id, user_id, challenge_hash, expires_at)
VALUES ($1, $2, $3, now() + make_interval(secs => $4))
"""
_USE_CHALLENGE = """
DELETE FROM users.passkey_challenges
WHERE challenge_hash = $2 AND user_id IS NOT DISTINCT FROM $1 AND expires_at > now() RETURNING id
"""
_CREDENTIAL_IDS = "SELECT credential_id FROM users.passkeys WHERE user_id = $1 ORDER BY id"
# The lock lets one be counted and added at a time, and none to somebody who is gone.
_LOCK_USER = "SELECT id FROM users.users WHERE id = $1 AND status = 'active' FOR NO KEY UPDATE"
_ADD = """
INSERT INTO users.passkeys (id, user_id, name, credential_id, public_key, sign_count)
SELECT $1, $2, $3, $4, $5, $6 WHERE (SELECT count(*) FROM users.passkeys WHERE user_id = $2) < $7
RETURNING id, name, created_at, last_used_at
"""
_LIST = "SELECT id, name, created_at, last_used_at FROM users.passkeys WHERE user_id = $1 ORDER BY id DESC"
_KNOWN = f"""
SELECT p.id AS passkey_id, p.public_key, u.id, u.status, u.token_version, {PERMISSIONS} AS permissions
FROM users.passkeys p JOIN users.users u ON u.id = p.user_id WHERE p.credential_id = $1 AND u.status = 'active'
"""  # noqa: S608 - made of constants
_USE = """
UPDATE users.passkeys SET sign_count = $2, last_used_at = now()
WHERE id = $1 AND (sign_count < $2 OR sign_count = 0 AND $2 = 0) RETURNING id
"""
_REMOVE = "DELETE FROM users.passkeys WHERE id = $2 AND user_id = $1 RETURNING id"
_DROP_ENDED = """
DELETE FROM users.passkey_challenges WHERE id = ANY(ARRAY(
    SELECT id FROM users.passkey_challenges WHERE expires_at < now() ORDER BY expires_at LIMIT $1
)) RETURNING id
"""


class Passkeys:
    """By user, and by the credential that an authenticator shows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, user_id: UUID | None, challenge_hash: bytes, *, seconds: float) -> None:
        await self._database.execute(_BEGIN, uuid7(), user_id, challenge_hash, seconds)

    async def use_challenge(self, user_id: UUID | None, challenge_hash: bytes) -> bool:
        """False for one that is unknown, used, expired, or of somebody else; None is nobody in particular."""
        return await self._database.fetchval(_USE_CHALLENGE, user_id, challenge_hash) is not None

    async def credential_ids(self, user_id: UUID) -> Sequence[bytes]:
        return [row["credential_id"] for row in await self._database.fetch(_CREDENTIAL_IDS, user_id)]

    async def add(
        self, user_id: UUID, passkey_id: UUID, name: str, credential: Credential, *, most: int, told: Told
    ) -> Passkey | None:
        """None where there are `most` already. Raises PasskeyTaken; PasskeyUnverified for who has gone meanwhile."""
        async with self._database.transaction() as connection:
            if await connection.fetchval(_LOCK_USER, user_id) is None:
                raise PasskeyUnverified
            try:
                row = await connection.fetchrow(
                    _ADD, passkey_id, user_id, name, credential.credential_id, credential.public_key,
                    credential.sign_count, most,
                )  # fmt: skip
            except asyncpg.UniqueViolationError:
                raise PasskeyTaken from None
            if row is None:
                return None
            await audit(connection, "passkey_added", actor_id=user_id, subject_id=user_id)
            await put_notice(connection, user_id, told)
        return _passkey(row)

    async def passkeys(self, user_id: UUID) -> list[Passkey]:
        """The newest first."""
        return [_passkey(row) for row in await self._database.fetch(_LIST, user_id)]

    async def known(self, credential_id: bytes) -> KnownPasskey | None:
        """None where nobody who may sign in has this passkey."""
        row = await self._database.fetchrow(_KNOWN, credential_id)
        if row is None:
            return None
        account = Account(row["id"], row["status"], None, row["token_version"], tuple(row["permissions"]))
        return KnownPasskey(row["passkey_id"], row["public_key"], account)

    async def use(self, known: KnownPasskey, sign_count: int) -> bool:
        """False for a count that is not above the last one: somebody has a copy of the authenticator."""
        user_id = known.account.user_id
        async with self._database.transaction() as connection:
            if await connection.fetchval(_USE, known.passkey_id, sign_count) is not None:
                return True
            await audit(connection, "passkey_cloned", actor_id=None, subject_id=user_id)
        return False

    async def remove(self, user_id: UUID, passkey_id: UUID) -> bool:
        async with self._database.transaction() as connection:
            if await connection.fetchval(_REMOVE, user_id, passkey_id) is None:
                return False
            await audit(connection, "passkey_removed", actor_id=user_id, subject_id=user_id)
        return True

    async def drop_ended(self, *, limit: int) -> int:
        """How many ceremonies that were never finished were dropped; at most `limit`."""
        return len(await self._database.fetch(_DROP_ENDED, limit))


def _passkey(row: Row) -> Passkey:
    return Passkey(
        passkey_id=row["id"], name=row["name"], created_at=row["created_at"], last_used_at=row["last_used_at"]
    )
