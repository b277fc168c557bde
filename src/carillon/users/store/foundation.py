"""What the first start lays: the administrator, and accounts with tokens for applications and services."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from uuid import UUID

from carillon.kit.auth import CallerKind
from carillon.kit.database import Connection, Database
from carillon.kit.ids import uuid7
from carillon.users.actions.founding import KnownAdmin
from carillon.users.domain.people import Address

_LOCK = "SELECT pg_advisory_xact_lock(hashtext('carillon.users'), hashtext('foundation'))"
_ADMIN = """
SELECT u.id, u.password_hash, u.password_changed_at IS NOT NULL AS changed FROM users.users u
JOIN users.user_roles ur ON ur.user_id = u.id JOIN users.roles r ON r.id = ur.role_id AND r.name = 'admin'
WHERE u.email_key = $1 AND u.status = 'active'
"""
_PUT_ADMIN = """
INSERT INTO users.users (id, name, email, email_key, password_hash) VALUES ($1, 'Administrator', $2, $3, $4)
ON CONFLICT (email_key) DO UPDATE SET password_hash = excluded.password_hash, status = 'active',
    password_changed_at = NULL, pending_email = NULL,
    token_version = users.token_version + 1, updated_at = now()
RETURNING id
"""
_PUT_PREFERENCES = """
WITH made AS (
    INSERT INTO users.notification_preferences (user_id) VALUES ($1) ON CONFLICT DO NOTHING
    RETURNING user_id, email, push, categories, quiet_hours
)
INSERT INTO users.preference_changes (id, user_id, source, preferences, version)
SELECT gen_random_uuid(), user_id, 'registration', to_jsonb(made) - 'user_id', 1 FROM made
"""
_PUT_ROLE = """
INSERT INTO users.user_roles (user_id, role_id) SELECT $1, id FROM users.roles WHERE name = 'admin'
ON CONFLICT DO NOTHING
"""
# Whoever held this address before must not inherit what it becomes.
_END_SESSIONS = "UPDATE users.sessions SET revoked_at = now() WHERE user_id = $1 AND revoked_at IS NULL"
_END_TOKENS = "UPDATE users.personal_access_tokens SET revoked_at = now() WHERE user_id = $1 AND revoked_at IS NULL"
_END_MAILED = "DELETE FROM users.one_time_tokens WHERE user_id = $1 AND used_at IS NULL"
_END_DEVICES = "DELETE FROM users.devices WHERE user_id = $1"
_PUT_ACCOUNT = """
INSERT INTO users.service_accounts (id, name, kind, permissions) VALUES ($1, $2, $3, $4)
ON CONFLICT (name) DO UPDATE SET permissions = excluded.permissions, kind = excluded.kind
RETURNING CASE WHEN disabled_at IS NULL THEN id END
"""
_KNOWN = """
SELECT t.secret_hash FROM users.personal_access_tokens t JOIN users.service_accounts a ON a.id = t.service_account_id
WHERE t.id = $1 AND a.name = $2 AND t.abilities @> $3::text[] AND t.abilities <@ $3::text[]
    AND t.revoked_at IS NULL AND t.expires_at > $4
"""
_RETIRE = """
UPDATE users.personal_access_tokens SET expires_at = least(expires_at, now() + make_interval(secs => $2))
WHERE service_account_id = $1
"""
_ADD = """
INSERT INTO users.personal_access_tokens (id, service_account_id, name, abilities, secret_hash, expires_at)
VALUES ($1, $2, 'made at the first start', $3, $4, $5)
"""


class Foundation:
    """Within `laying` nobody else lays anything; it is committed as a whole."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextlib.asynccontextmanager
    async def laying(self) -> "AsyncIterator[Laying]":
        async with self._database.transaction() as connection:
            await connection.execute(_LOCK)
            yield Laying(connection)


class Laying:
    """The statements of one first start, all in its transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def admin(self, email_key: str) -> KnownAdmin | None:
        """The administrator of this address, if there is one."""
        row = await self._connection.fetchrow(_ADMIN, email_key)
        return None if row is None else KnownAdmin(row["id"], row["password_hash"], row["changed"])

    async def put_admin(self, address: Address, password_hash: str) -> UUID:
        user_id: UUID = await self._connection.fetchval(_PUT_ADMIN, uuid7(), address.shown, address.key, password_hash)
        for statement in (_PUT_PREFERENCES, _PUT_ROLE, _END_SESSIONS, _END_TOKENS, _END_MAILED, _END_DEVICES):
            await self._connection.execute(statement, user_id)
        return user_id

    async def put_account(self, name: str, kind: CallerKind, permissions: Sequence[str]) -> UUID | None:
        """None for one that somebody has disabled: it stays so."""
        account_id: UUID | None = await self._connection.fetchval(_PUT_ACCOUNT, uuid7(), name, kind, permissions)
        return account_id

    async def token_hash(
        self, token_id: UUID, *, account: str, abilities: Sequence[str], good_until: datetime
    ) -> bytes | None:
        """The hash of a token of `account` with exactly these abilities that outlives `good_until`."""
        known: bytes | None = await self._connection.fetchval(_KNOWN, token_id, account, abilities, good_until)
        return known

    async def replace_tokens(
        self,
        account_id: UUID,
        token_id: UUID,
        *,
        abilities: Sequence[str],
        secret_hash: bytes,
        expires_at: datetime,
        grace_seconds: float,
    ) -> None:
        """A new token; those of before work on for `grace_seconds`, for processes that hold them still."""
        await self._connection.execute(_RETIRE, account_id, grace_seconds)
        await self._connection.execute(_ADD, token_id, account_id, abilities, secret_hash, expires_at)
