"""What people say of themselves, changed under a lock of their row."""

from collections.abc import Collection
from uuid import UUID

from carillon.kit.database import Database
from carillon.users.domain.people import User
from carillon.users.domain.profile import Profile, ProfilePatch, patched
from carillon.users.store.changes import touch
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
        actor_id: UUID,
        anyone: bool,
        expected: Collection[int] | None = None,
    ) -> User | None:
        """None when there is none, or none that `actor_id` may change. Raises Invalid, PreconditionFailed."""
        async with self._database.transaction() as connection:
            touched = await touch(
                connection, user_id, actor_id=actor_id, anyone=anyone, action="profile_changed",
                detail={"fields": patch.fields}, expected=expected,
            )  # fmt: skip
            if touched is None:
                return None
            now = patched(Profile(**await connection.fetchrow(_READ, user_id)), patch)
            await connection.execute(_WRITE, user_id, now.name, now.locale, now.timezone, now.attributes)
            return await visible(connection, user_id)
