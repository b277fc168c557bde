"""Passwords and opaque tokens: what a caller is known by, and what they may do."""

from datetime import datetime
from uuid import UUID

from carillon.kit.database import Database
from carillon.users.domain.tokens import Account, OpaqueToken

PERMISSIONS = """
ARRAY(
    SELECT p.name FROM users.user_roles ur
    JOIN users.role_permissions rp ON rp.role_id = ur.role_id
    JOIN users.permissions p ON p.id = rp.permission_id WHERE ur.user_id = u.id
    UNION SELECT p.name FROM users.user_permissions up
    JOIN users.permissions p ON p.id = up.permission_id WHERE up.user_id = u.id
)
"""
# A row for an unknown account too: no time tells that permissions were looked up, or not.
_ACCOUNT = f"""
SELECT u.id, u.status, u.password_hash, u.token_version, {PERMISSIONS} AS permissions,
       EXISTS (
           SELECT FROM users.second_factors f WHERE f.user_id = u.id AND f.confirmed_at IS NOT NULL
       ) AS second_factor
FROM (SELECT $1::text AS email_key) asked LEFT JOIN users.users u ON u.email_key = asked.email_key
"""  # noqa: S608 - made of constants
# Only in the place of the hash that was compared: a password changed meanwhile stays changed.
_RENEW = "UPDATE users.users SET password_hash = $3 WHERE id = $1 AND password_hash = $2 RETURNING true"
_OPAQUE = f"""
SELECT t.secret_hash, coalesce(u.id, a.id) AS owner_id, coalesce(a.kind, 'user') AS kind, t.abilities,
       CASE WHEN u.id IS NULL THEN a.permissions ELSE {PERMISSIONS} END AS permissions, t.expires_at
FROM users.personal_access_tokens t
LEFT JOIN users.users u ON u.id = t.user_id AND u.status = 'active'
LEFT JOIN users.service_accounts a ON a.id = t.service_account_id AND a.disabled_at IS NULL
WHERE t.id = $1 AND t.revoked_at IS NULL AND t.expires_at > now() AND coalesce(u.id, a.id) IS NOT NULL
"""  # noqa: S608 - made of constants


class Credentials:
    """Accounts by address, tokens by id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def account(self, email_key: str) -> Account | None:
        row = await self._database.fetchrow(_ACCOUNT, email_key)
        if row is None or row["id"] is None:
            return None
        return Account(
            row["id"],
            row["status"],
            row["password_hash"],
            row["token_version"],
            tuple(row["permissions"]),
            second_factor=row["second_factor"],
        )

    async def renew_hash(self, user_id: UUID, *, kept: str, renewed: str) -> bool:
        """The same password in a newer hash; False where `kept` is no longer the hash."""
        return await self._database.fetchval(_RENEW, user_id, kept, renewed) is not None

    async def opaque_token(self, token_id: UUID) -> OpaqueToken | None:
        """None for one that is unknown, revoked or expired, or whose owner is disabled."""
        row = await self._database.fetchrow(_OPAQUE, token_id)
        if row is None:
            return None
        expires_at: datetime = row["expires_at"]
        return OpaqueToken(
            secret_hash=row["secret_hash"],
            owner_id=row["owner_id"],
            kind=row["kind"],
            abilities=row["abilities"],
            permissions=row["permissions"],
            expires_at=expires_at.timestamp(),
        )
