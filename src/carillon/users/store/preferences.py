"""Preferences, and everything that a look-up of contacts needs, in one query."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from carillon.contracts.preferences import Choices
from carillon.contracts.users import Device
from carillon.kit.database import Connection, Database, Row
from carillon.users.domain.preferences import Person, Preferences
from carillon.users.errors import TooManyCategories
from carillon.users.store.changes import touch

_PEOPLE = """
SELECT u.id, u.name, u.email, u.locale, u.status, u.version, p.email AS takes_email, p.push AS takes_push, p.categories,
       s.id IS NOT NULL AS suppressed, coalesce(d.devices, '[]') AS devices
FROM users.users u
JOIN users.notification_preferences p ON p.user_id = u.id
LEFT JOIN users.suppressed_addresses s ON s.address_hash = sha256(convert_to(u.email_key, 'UTF8'))
LEFT JOIN LATERAL (
    SELECT jsonb_agg(
        jsonb_build_object('device_id', id, 'platform', platform, 'token', token, 'keys', keys) ORDER BY id
    ) AS devices
    FROM users.devices WHERE user_id = u.id AND invalid_at IS NULL
) d ON true
WHERE u.id = ANY($1::uuid[]) AND u.status <> 'erased'
"""
_REPLACE = """
UPDATE users.notification_preferences SET email = $2, push = $3, categories = $4, updated_at = now()
WHERE user_id = $1 RETURNING email, push, categories
"""
_ADJUST = """
UPDATE users.notification_preferences
SET email = coalesce($2, email), push = coalesce($3, push), categories = (categories || $4) - $5::text[],
    updated_at = now()
WHERE user_id = $1 RETURNING email, push, categories
"""


class PreferencesStore:
    """Preferences read with all that belongs to a look-up, replaced whole or in part."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def people(self, user_ids: Sequence[UUID]) -> list[Person]:
        """Those of `user_ids` that there are, in no order."""
        return [_person(row) for row in await self._database.fetch(_PEOPLE, user_ids)]

    async def replace(self, user_id: UUID, choices: Choices, *, actor_id: UUID, anyone: bool) -> Preferences | None:
        """None when there is no such user, or none that `actor_id` may change."""
        async with self._database.transaction() as connection:
            version = await self._touched(connection, user_id, actor_id, anyone=anyone)
            if version is None:
                return None
            row = await connection.fetchrow(_REPLACE, user_id, choices.email, choices.push, dict(choices.categories))
            assert row is not None, "every user has preferences"
            return Preferences(**dict(row), version=version)

    async def adjust(
        self,
        user_id: UUID,
        *,
        email: bool | None,
        push: bool | None,
        chosen: dict[str, bool],
        unchosen: Sequence[str],
        most: int,
        actor_id: UUID,
        anyone: bool,
    ) -> Preferences | None:
        """Change what is given and keep the rest, whoever else changes it meanwhile. Raises TooManyCategories."""
        async with self._database.transaction() as connection:
            version = await self._touched(connection, user_id, actor_id, anyone=anyone)
            if version is None:
                return None
            row = await connection.fetchrow(_ADJUST, user_id, email, push, chosen, unchosen)
            assert row is not None, "every user has preferences"
            if len(row["categories"]) > most:
                raise TooManyCategories
            return Preferences(**dict(row), version=version)

    async def _touched(self, connection: Connection, user_id: UUID, actor_id: UUID, *, anyone: bool) -> int | None:
        return await touch(connection, user_id, actor_id=actor_id, anyone=anyone, action="preferences_changed")


def _person(row: Row) -> Person:
    return Person(
        user_id=row["id"],
        name=row["name"],
        email=row["email"],
        locale=row["locale"],
        status=row["status"],
        version=row["version"],
        choices=Choices(email=row["takes_email"], push=row["takes_push"], categories=row["categories"]),
        suppressed=row["suppressed"],
        devices=msgspec.convert(row["devices"], list[Device]),
    )
