"""Applications: service accounts of that kind; those of Carillon's own services are not seen here."""

from collections.abc import Sequence
from uuid import UUID

from carillon.kit.database import Database, Row
from carillon.kit.ids import uuid7
from carillon.users.domain.idempotency import Once
from carillon.users.domain.tokens import Application
from carillon.users.store.changes import audit
from carillon.users.store.idempotency import claim, release
from carillon.users.store.opaque_tokens import announce_tokens_changed

_COLUMNS = "id, name, permissions, created_at, disabled_at"
_ADD = f"""
INSERT INTO users.service_accounts (id, name, kind, permissions) VALUES ($1, $2, 'application', $3)
ON CONFLICT (name) DO NOTHING RETURNING {_COLUMNS}
"""  # noqa: S608 - made of constants
_ONE = f"SELECT {_COLUMNS} FROM users.service_accounts WHERE id = $1 AND kind = 'application'"  # noqa: S608
_PAGE = f"""
SELECT {_COLUMNS}, count(*) OVER () AS total FROM users.service_accounts WHERE kind = 'application'
ORDER BY id DESC LIMIT $1 OFFSET $2
"""  # noqa: S608 - made of constants
_COUNT = "SELECT count(*) FROM users.service_accounts WHERE kind = 'application'"
_DISABLE = f"""
UPDATE users.service_accounts SET disabled_at = now() WHERE id = $1 AND kind = 'application' AND disabled_at IS NULL
RETURNING {_COLUMNS}
"""  # noqa: S608 - made of constants
_DEFAULT = """
SELECT p.name FROM users.roles r JOIN users.role_permissions rp ON rp.role_id = r.id
JOIN users.permissions p ON p.id = rp.permission_id WHERE r.name = 'application' ORDER BY p.name
"""


class Applications:
    """Applications by id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def usual_permissions(self) -> list[str]:
        """Those of the role `application`."""
        return [row["name"] for row in await self._database.fetch(_DEFAULT)]

    async def add(
        self, name: str, permissions: Sequence[str], *, actor_id: UUID, once: Once | None = None
    ) -> Application | None:
        """None where an account has this name. Raises AlreadyMade, IdempotencyKeyReused."""
        application_id = uuid7()
        async with self._database.transaction() as connection:
            await claim(connection, once, application_id)
            row = await connection.fetchrow(_ADD, application_id, name, permissions)
            if row is None:
                await release(connection, once)
                return None
            detail = {"permissions": list(permissions)}
            await audit(connection, "application_made", actor_id=actor_id, subject_id=row["id"], detail=detail)
        return _application(row)

    async def application(self, application_id: UUID) -> Application | None:
        row = await self._database.fetchrow(_ONE, application_id)
        return None if row is None else _application(row)

    async def page(self, *, limit: int, offset: int) -> tuple[list[Application], int]:
        """The newest first, and how many there are."""
        rows = await self._database.fetch(_PAGE, limit, offset)
        total = rows[0]["total"] if rows else await self._database.fetchval(_COUNT)
        return [_application(row) for row in rows], total

    async def disable(self, application_id: UUID, *, actor_id: UUID) -> Application | None:
        """None where there is none that works."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_DISABLE, application_id)
            if row is None:
                return None
            await announce_tokens_changed(connection, application_id)
            await audit(connection, "application_disabled", actor_id=actor_id, subject_id=application_id)
        return _application(row)


def _application(row: Row) -> Application:
    return Application(
        application_id=row["id"],
        name=row["name"],
        permissions=list(row["permissions"]),
        created_at=row["created_at"],
        disabled_at=row["disabled_at"],
    )
