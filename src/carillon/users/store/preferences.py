"""Preferences, and everything that a look-up of contacts needs, in one query."""

from collections.abc import Callable, Collection, Sequence
from uuid import UUID

import msgspec

from carillon.contracts.people import Preferences
from carillon.contracts.preferences import Choices
from carillon.contracts.users import Device
from carillon.kit.database import Database, Row
from carillon.users.domain.people import email_key
from carillon.users.domain.preferences import ChangeSource, Person, agreed, choices_of
from carillon.users.domain.roles import Actor
from carillon.users.store.administration import address_hash
from carillon.users.store.changes import touch_as
from carillon.users.store.consent import remember

_PEOPLE = """
SELECT u.id, u.name, u.email, u.pending_email, u.locale, u.timezone, u.status, u.version,
       p.email AS takes_email, p.push AS takes_push, p.categories, p.quiet_hours,
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
_SUPPRESSED = "SELECT address_hash FROM users.suppressed_addresses WHERE address_hash = ANY($1::bytea[])"
_PRESENT = "SELECT email, push, categories, quiet_hours FROM users.notification_preferences WHERE user_id = $1"
_CHANGE = """
UPDATE users.notification_preferences
SET email = $2, push = $3, categories = $4, quiet_hours = $5, updated_at = now() WHERE user_id = $1
"""


class PreferencesStore:
    """Preferences read with all that belongs to a look-up, and changed with a line of history."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def people(self, user_ids: Sequence[UUID]) -> list[Person]:
        """Those of `user_ids` that there are, in no order; an address that waits only where it may be written to."""
        rows = await self._database.fetch(_PEOPLE, user_ids)
        waiting = {row["id"]: address_hash(email_key(row["pending_email"])) for row in rows if row["pending_email"]}
        barred = await self._suppressed(list(waiting.values())) if waiting else frozenset()
        return [_person(row, waiting=waiting.get(row["id"]) not in barred) for row in rows]

    async def _suppressed(self, hashes: Sequence[bytes]) -> frozenset[bytes]:
        return frozenset(row["address_hash"] for row in await self._database.fetch(_SUPPRESSED, hashes))

    async def change(
        self,
        user_id: UUID,
        change: Callable[[Choices], Choices],
        *,
        by: Actor,
        expected: Collection[int] | None,
    ) -> Preferences | None:
        """Change what is there, whoever else changes it meanwhile; what `change` raises changes nothing.

        None when there is no such user, or none that `by` may change. Raises CannotActOn, PreconditionFailed.
        """
        async with self._database.transaction() as connection:
            version = await touch_as(connection, user_id, by, action="preferences_changed", expected=expected)
            if version is None:
                return None
            row = await connection.fetchrow(_PRESENT, user_id)
            assert row is not None, "every user has preferences"
            choices = change(choices_of(dict(row)))
            kept = msgspec.to_builtins(choices)
            await connection.execute(
                _CHANGE, user_id, choices.email, choices.push, kept["categories"], kept["quiet_hours"]
            )
            source: ChangeSource = "self" if by.actor_id == user_id else "admin"
            await remember(
                connection, user_id, choices,
                source=source, actor_id=by.actor_id, version=version, session_id=by.session_id,
            )  # fmt: skip
            return agreed(choices, version)


def _person(row: Row, *, waiting: bool) -> Person:
    return Person(
        user_id=row["id"],
        name=row["name"],
        email=row["email"],
        locale=row["locale"],
        timezone=row["timezone"],
        status=row["status"],
        version=row["version"],
        choices=choices_of(
            {
                "email": row["takes_email"],
                "push": row["takes_push"],
                "categories": row["categories"],
                "quiet_hours": row["quiet_hours"],
            }
        ),
        suppressed=row["suppressed"],
        pending_email=row["pending_email"] if waiting else None,
        devices=msgspec.convert(row["devices"], list[Device]),
    )
