"""Roles and permissions: read by anybody, changed by one transaction at a time."""

import contextlib
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any
from uuid import UUID

from carillon.kit.database import Connection, Database, Row
from carillon.users.domain.idempotency import Once
from carillon.users.domain.roles import ADMIN, Grants, Permission, Role, RoleName
from carillon.users.store.changes import audit, touch, touch_holders
from carillon.users.store.idempotency import claim

# Rights change rarely. One at a time, and never the last administrator twice at once.
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('carillon.users'), hashtext('grants'))"
_PERMISSIONS = "SELECT id AS permission_id, name, description FROM users.permissions ORDER BY name"
_ROLE = """
SELECT r.id AS role_id, r.name, r.description, r.seeded, r.version, ARRAY(
    SELECT p.name FROM users.role_permissions rp JOIN users.permissions p ON p.id = rp.permission_id
    WHERE rp.role_id = r.id ORDER BY p.name
) AS permissions
FROM users.roles r
"""
_ROLES = f"{_ROLE} ORDER BY r.name"
_ROLE_BY_ID = f"{_ROLE} WHERE r.id = $1"
_ROLES_BY_NAME = f"{_ROLE} WHERE r.name = ANY($1::text[])"
_ADD_ROLE = """
INSERT INTO users.roles (id, name, description) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING RETURNING id
"""
_PUT_ROLE = """
UPDATE users.roles SET name = $2, description = $3, version = version + 1 WHERE id = $1
"""
_GIVE_TO_ROLE = """
WITH dropped AS (
    DELETE FROM users.role_permissions rp USING users.permissions p
    WHERE rp.permission_id = p.id AND rp.role_id = $1 AND p.name <> ALL($2::text[])
)
INSERT INTO users.role_permissions (role_id, permission_id)
SELECT $1, id FROM users.permissions WHERE name = ANY($2::text[]) ON CONFLICT DO NOTHING
"""
_USER = "SELECT version FROM users.users WHERE id = $1 AND status <> 'erased'"
_USER_ROLES = """
SELECT r.id AS role_id, r.name FROM users.user_roles ur JOIN users.roles r ON r.id = ur.role_id
WHERE ur.user_id = $1 ORDER BY r.name
"""
_USER_PERMISSIONS = """
SELECT p.id AS permission_id, p.name, p.description FROM users.user_permissions up
JOIN users.permissions p ON p.id = up.permission_id WHERE up.user_id = $1 ORDER BY p.name
"""
_EFFECTIVE = """
SELECT p.name FROM users.user_roles ur JOIN users.role_permissions rp ON rp.role_id = ur.role_id
JOIN users.permissions p ON p.id = rp.permission_id WHERE ur.user_id = $1
UNION SELECT p.name FROM users.user_permissions up JOIN users.permissions p ON p.id = up.permission_id
WHERE up.user_id = $1 ORDER BY 1
"""
_GIVE_ROLES = """
WITH dropped AS (DELETE FROM users.user_roles WHERE user_id = $1 AND role_id <> ALL($2::uuid[]))
INSERT INTO users.user_roles (user_id, role_id) SELECT $1, unnest($2::uuid[]) ON CONFLICT DO NOTHING
"""
_GIVE_PERMISSIONS = """
WITH dropped AS (DELETE FROM users.user_permissions WHERE user_id = $1 AND permission_id <> ALL($2::uuid[]))
INSERT INTO users.user_permissions (user_id, permission_id) SELECT $1, unnest($2::uuid[]) ON CONFLICT DO NOTHING
"""
_LAST_ADMIN = f"""
SELECT bool_or(u.id = $1) AND count(*) = 1 FROM users.users u
JOIN users.user_roles ur ON ur.user_id = u.id JOIN users.roles r ON r.id = ur.role_id AND r.name = '{ADMIN}'
WHERE u.status = 'active'
"""  # noqa: S608 - made of constants


class GrantsStore:
    """What there is; and `changing`, within which nobody else changes any of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def permissions(self) -> list[Permission]:
        return [Permission(**row) for row in await self._database.fetch(_PERMISSIONS)]

    async def roles(self) -> list[Role]:
        return [_role(row) for row in await self._database.fetch(_ROLES)]

    async def role(self, role_id: UUID) -> Role | None:
        row = await self._database.fetchrow(_ROLE_BY_ID, role_id)
        return None if row is None else _role(row)

    async def grants(self, user_id: UUID) -> Grants | None:
        async with self._database.transaction() as connection:
            return await grants_of(connection, user_id)

    @contextlib.asynccontextmanager
    async def changing(self) -> "AsyncIterator[ChangingGrants]":
        async with self._database.transaction() as connection:
            await lock_grants(connection)
            yield ChangingGrants(connection)


class ChangingGrants:
    """The statements of one change, all in its transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def role(self, role_id: UUID) -> Role | None:
        row = await self._connection.fetchrow(_ROLE_BY_ID, role_id)
        return None if row is None else _role(row)

    async def roles(self, names: Collection[str]) -> list[Role]:
        return [_role(row) for row in await self._connection.fetch(_ROLES_BY_NAME, list(names))]

    async def permissions(self) -> list[Permission]:
        return [Permission(**row) for row in await self._connection.fetch(_PERMISSIONS)]

    async def grants(self, user_id: UUID) -> Grants | None:
        return await grants_of(self._connection, user_id)

    async def count_roles(self) -> int:
        count: int = await self._connection.fetchval("SELECT count(*) FROM users.roles")
        return count

    async def claim(self, once: Once | None, role_id: UUID) -> None:
        """Raises AlreadyMade, IdempotencyKeyReused."""
        await claim(self._connection, once, role_id)

    async def add_role(self, role_id: UUID, name: str, description: str) -> bool:
        """False when the name is taken."""
        return await self._connection.fetchval(_ADD_ROLE, role_id, name, description) is not None

    async def name_role(self, role_id: UUID, name: str, description: str) -> None:
        """The name must be free, or the role's own."""
        await self._connection.execute(_PUT_ROLE, role_id, name, description)

    async def give_to_role(self, role_id: UUID, permissions: Collection[str]) -> None:
        await self._connection.execute(_GIVE_TO_ROLE, role_id, list(permissions))

    async def drop_role(self, role_id: UUID) -> None:
        await self._connection.execute("DELETE FROM users.roles WHERE id = $1", role_id)

    async def give_roles(self, user_id: UUID, role_ids: Sequence[UUID]) -> None:
        await self._connection.execute(_GIVE_ROLES, user_id, role_ids)

    async def give_permissions(self, user_id: UUID, permission_ids: Sequence[UUID]) -> None:
        await self._connection.execute(_GIVE_PERMISSIONS, user_id, permission_ids)

    async def is_last_admin(self, user_id: UUID) -> bool:
        return await is_last_admin(self._connection, user_id)

    async def touch(
        self, user_id: UUID, *, actor_id: UUID, action: str, detail: dict[str, Any], expected: Collection[int] | None
    ) -> int | None:
        """Void what the user was granted until now; None when there is no such user. Raises PreconditionFailed."""
        return await touch(
            self._connection, user_id, actor_id=actor_id, anyone=True, action=action, detail=detail, revokes=True,
            expected=expected,
        )  # fmt: skip

    async def touch_holders(self, role_id: UUID) -> list[UUID]:
        """Void what everybody who has the role was granted until now."""
        return await touch_holders(self._connection, role_id)

    async def audit(self, action: str, *, actor_id: UUID, subject_id: UUID, detail: dict[str, Any]) -> None:
        await audit(self._connection, action, actor_id=actor_id, subject_id=subject_id, detail=detail)


async def lock_grants(connection: Connection) -> None:
    """Before any other lock: whoever changes who is an administrator waits for whoever does so already."""
    await connection.execute(_LOCK)


async def is_last_admin(connection: Connection, user_id: UUID) -> bool:
    """Under `lock_grants`: whether nobody would be left who may do everything."""
    return bool(await connection.fetchval(_LAST_ADMIN, user_id))


async def grants_of(connection: Connection, user_id: UUID) -> Grants | None:
    version: int | None = await connection.fetchval(_USER, user_id)
    if version is None:
        return None
    return Grants(
        user_id=user_id,
        roles=[RoleName(**row) for row in await connection.fetch(_USER_ROLES, user_id)],
        permissions=[Permission(**row) for row in await connection.fetch(_USER_PERMISSIONS, user_id)],
        effective=[row["name"] for row in await connection.fetch(_EFFECTIVE, user_id)],
        version=version,
    )


def _role(row: Row) -> Role:
    return Role(**dict(row))
