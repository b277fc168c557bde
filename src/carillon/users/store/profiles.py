"""What people say of themselves, changed under a lock of their row."""

from collections.abc import Collection
from uuid import UUID

from carillon.contracts.people import User
from carillon.kit.database import Database
from carillon.users.domain.profile import Profile, ProfilePatch, patched
from carillon.users.domain.roles import Actor
from carillon.users.store.changes import touch_as
from carillon.users.store.people import visible

_READ = "SELECT name, locale, timezone, attributes FROM users.users WHERE id = $1"
_WRITE = "UPDATE users.users SET name = $2, locale = $3, timezone = $4, attributes = $5 WHERE id = $1"


class Profiles:
    """Profiles, changed in part."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def change(
        self,
        user_id: UUID,
        patch: ProfilePatch,
        *,
        by: Actor,
        expected: Collection[int] | None = None,
    ) -> User | None:
        """None when there is none, or none that `by` may change. Raises CannotActOn, Invalid, PreconditionFailed."""
        async with self._database.transaction() as connection:
            detail = {"fields": patch.fields}
            touched = await touch_as(
                connection, user_id, by, action="profile_changed", detail=detail, expected=expected
            )
            if touched is None:
                return None
            now = patched(Profile(**await connection.fetchrow(_READ, user_id)), patch)
            await connection.execute(_WRITE, user_id, now.name, now.locale, now.timezone, now.attributes)
            return await visible(connection, user_id)
