"""Everything that is held on a person, secrets and their hashes excepted."""

from typing import Any
from uuid import UUID

from carillon.kit.database import Database
from carillon.users.store.changes import audit

MOST = 1_000
_USER = """
SELECT id AS user_id, name, email, email_verified_at, pending_email, password_hash IS NOT NULL AS has_password, status,
       locale, timezone, attributes, version, created_at, updated_at
FROM users.users WHERE id = $1 AND status <> 'erased'
"""
_SUPPRESSED = """
SELECT reason, created_at FROM users.suppressed_addresses
WHERE address_hash = (SELECT sha256(convert_to(email_key, 'UTF8')) FROM users.users WHERE id = $1)
"""
# Each: what is shown of a table's rows, and how they are sorted.
PARTS = {
    "notification_preferences": ("email, push, categories, quiet_hours, updated_at", "updated_at"),
    "preference_changes": ("at, actor_id, source, preferences, version, correlation_id", "at DESC"),
    "devices": (
        "id AS device_id, platform, token, name, is_push_token, created_at, updated_at, invalid_at, invalid_reason",
        "id DESC",
    ),
    "sessions": (
        "id AS session_id, created_at, refreshed_at, expires_at, revoked_at, revoked_reason, user_agent, address",
        "id DESC",
    ),
    "personal_access_tokens": (
        "id AS token_id, name, abilities, created_at, expires_at, last_used_at, revoked_at",
        "id DESC",
    ),
    "second_factors": ("created_at, confirmed_at", "id DESC"),
    "passkeys": ("id AS passkey_id, name, created_at, last_used_at", "id DESC"),
    "passkey_challenges": ("created_at, expires_at", "id DESC"),
    "recovery_codes": ("created_at, used_at", "id DESC"),
    "login_challenges": ("created_at, expires_at", "id DESC"),
    "one_time_tokens": ("purpose, email, created_at, expires_at, used_at", "id DESC"),
    "user_roles": ("(SELECT name FROM users.roles WHERE id = role_id) AS name", "1"),
    "user_permissions": ("(SELECT name FROM users.permissions WHERE id = permission_id) AS name", "1"),
}
_AUDIT = """
SELECT at, actor_id, action, subject_id, detail, correlation_id FROM users.audit_events
WHERE subject_id = $1 ORDER BY id DESC LIMIT $2
"""


class Exports:
    """Read in one transaction, so that the parts fit each other."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def export(self, user_id: UUID, *, actor_id: UUID) -> dict[str, Any] | None:
        """Parts by name, the newest MOST rows of each; None when there is no such user."""
        async with self._database.transaction() as connection:
            user = await connection.fetchrow(_USER, user_id)
            if user is None:
                return None
            parts: dict[str, Any] = {"user": dict(user)}
            for table, (columns, order) in PARTS.items():
                statement = f"SELECT {columns} FROM users.{table} WHERE user_id = $1 ORDER BY {order} LIMIT $2"  # noqa: S608 - constants
                parts[table] = [dict(row) for row in await connection.fetch(statement, user_id, MOST)]
            parts["suppressed_addresses"] = [dict(row) for row in await connection.fetch(_SUPPRESSED, user_id)]
            parts["audit_events"] = [dict(row) for row in await connection.fetch(_AUDIT, user_id, MOST)]
            await audit(connection, "user_exported", actor_id=actor_id, subject_id=user_id)
            return parts
