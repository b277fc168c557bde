"""Categories: read, put and dropped; every change is announced and audited in its transaction."""

from collections.abc import Collection
from uuid import UUID

from carillon.contracts.channels import USERS_EVENTS
from carillon.contracts.preferences import CategoryRule
from carillon.contracts.users import CategoryChanged
from carillon.kit.database import Connection, Database, Row
from carillon.kit.errors import check_version
from carillon.kit.ids import uuid7
from carillon.kit.telemetry import correlation
from carillon.users.domain.categories import MOST_CATEGORIES, Category, CategoryWanted
from carillon.users.errors import TooManyCategories

_COLUMNS = "code, description, allowed, required_channels, urgent, version, updated_at"
_ALL = f"SELECT {_COLUMNS} FROM users.categories ORDER BY code"  # noqa: S608 - made of constants
_RULE = "SELECT allowed, required_channels, urgent FROM users.categories WHERE code = $1"
# One at a time, or two at once would both find room for one more.
_ALONE = "SELECT pg_advisory_xact_lock(hashtext('carillon.users'), hashtext('categories'))"
_PUT = f"""
INSERT INTO users.categories (id, code, description, allowed, required_channels, urgent) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (code) DO UPDATE SET description = excluded.description, allowed = excluded.allowed,
    required_channels = excluded.required_channels, urgent = excluded.urgent, version = categories.version + 1,
    updated_at = now()
RETURNING id, {_COLUMNS}
"""  # noqa: S608 - made of constants
_COUNT = "SELECT count(*) FROM users.categories"
_DROP = "DELETE FROM users.categories WHERE code = $1 RETURNING id, version"
_TELL = f"""
WITH announced AS (
    INSERT INTO users.outbox (id, topic, body)
    VALUES ($1, '{USERS_EVENTS}', jsonb_build_object('category', $2::text, 'version', $3::bigint))
)
INSERT INTO users.audit_events (id, actor_id, action, subject_id, detail, correlation_id)
VALUES ($4, $5, $6, $7, jsonb_build_object('category', $2::text), $8)
"""  # noqa: S608 - made of constants


class Categories:
    """The categories there are; at most a thousand."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def everything(self) -> list[Category]:
        return [Category(**dict(row)) for row in await self._database.fetch(_ALL)]

    async def rule(self, code: str) -> CategoryRule | None:
        """What holds of a category; None where there is none of this code."""
        row = await self._database.fetchrow(_RULE, code)
        if row is None:
            return None
        return CategoryRule(row["allowed"], tuple(row["required_channels"]), row["urgent"])

    async def put(
        self, wanted: CategoryWanted, *, actor_id: UUID, expected: Collection[int] | None
    ) -> tuple[Category, bool]:
        """The category as it is now, and whether it is new. Raises PreconditionFailed, TooManyCategories."""
        async with self._database.transaction() as connection:
            await connection.execute(_ALONE)
            row = await connection.fetchrow(
                _PUT, uuid7(), wanted.code, wanted.description, wanted.allowed, wanted.required_channels, wanted.urgent
            )
            assert row is not None, "it was written by this statement"
            check_version(row["version"] - 1, expected)
            made = row["version"] == 1
            if made and await connection.fetchval(_COUNT) > MOST_CATEGORIES:
                raise TooManyCategories
            await _tell(connection, "category_made" if made else "category_changed", row, wanted.code, actor_id)
            return Category(**{name: value for name, value in row.items() if name != "id"}), made

    async def drop(self, code: str, *, actor_id: UUID) -> bool:
        """False where there is none of this code."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_DROP, code)
            if row is not None:
                await _tell(connection, "category_dropped", row, code, actor_id)
            return row is not None


async def _tell(connection: Connection, action: str, row: Row, code: str, actor_id: UUID) -> None:
    event = CategoryChanged(category=code, version=row["version"])
    await connection.execute(
        _TELL, uuid7(), event.category, event.version, uuid7(), actor_id, action, row["id"], correlation.current()
    )
