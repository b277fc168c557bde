"""Users: made, found."""

from uuid import UUID

from carillon.contracts.people import ChannelChoices, User
from carillon.contracts.preferences import Choices
from carillon.kit.database import Connection, Database, Row
from carillon.kit.ids import uuid7
from carillon.users.domain.account_mail import VerificationAsked
from carillon.users.domain.devices import NewDevice
from carillon.users.domain.idempotency import Once
from carillon.users.domain.people import NewPerson
from carillon.users.domain.preferences import ChangeSource
from carillon.users.store.account_mail import put_mail
from carillon.users.store.changes import audit
from carillon.users.store.consent import remember
from carillon.users.store.devices import give, lock_for_token
from carillon.users.store.idempotency import claim, release

USER = """
SELECT u.id AS user_id, u.name, u.email, u.email_verified_at IS NOT NULL AS email_verified, u.pending_email,
       d.token AS push_token, p.email AS takes_email, p.push AS takes_push, u.status,
       u.locale, u.timezone, u.attributes, u.version, u.created_at, u.updated_at
FROM users.users u
JOIN users.notification_preferences p ON p.user_id = u.id
LEFT JOIN users.devices d ON d.user_id = u.id AND d.is_push_token AND d.invalid_at IS NULL
"""
_VISIBLE = f"{USER} WHERE u.id = $1 AND (u.id = $2 OR $3) AND u.status <> 'erased'"
_BY_EMAIL = f"{USER} WHERE u.email_key = $1"
_PASSWORD = "SELECT password_hash FROM users.users WHERE id = $1"  # noqa: S105 - a statement
_INSERT = """
WITH made AS (
    INSERT INTO users.users (id, name, email, email_key, password_hash, attributes, locale, timezone, email_verified_at)
    VALUES ($1, $2, $3, $4, $5, $6, $9, $10, CASE WHEN $11 THEN now() END)
    ON CONFLICT (email_key) DO NOTHING RETURNING id
), preferences AS (
    INSERT INTO users.notification_preferences (user_id, email, push) SELECT id, $7, $8 FROM made
), role AS (
    INSERT INTO users.user_roles (user_id, role_id)
    SELECT made.id, r.id FROM made, users.roles r WHERE r.name = 'user'
)
SELECT id FROM made
"""
# How somebody became known is how they first agreed.
_SOURCES: dict[str, ChangeSource] = {"user_registered": "registration", "contact_made": "contact"}


class People:
    """Users by id, by address."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self,
        person: NewPerson,
        *,
        actor_id: UUID | None,
        action: str,
        once: Once | None = None,
        to_verify: bool = False,
    ) -> User | None:
        """None when the address is taken. `to_verify`: a mail asks to confirm it. Raises AlreadyMade,
        IdempotencyKeyReused."""
        new_id = uuid7()
        async with self._database.transaction() as connection:
            await claim(connection, once, new_id)
            user_id: UUID | None = await connection.fetchval(
                _INSERT, new_id, person.name, person.address.shown, person.address.key, person.password_hash,
                person.attributes, person.choices.email, person.choices.push, person.locale,
                person.timezone, person.verified,
            )  # fmt: skip
            if user_id is None:
                await release(connection, once)
                return None
            if person.push_token is not None:
                device = NewDevice("fcm", person.push_token)
                await lock_for_token(connection, user_id, device.platform, device.token)
                await give(connection, user_id, device, is_push_token=True, by=actor_id or user_id)
            await audit(connection, action, actor_id=actor_id or user_id, subject_id=user_id)
            if to_verify:
                await put_mail(connection, VerificationAsked(user_id))
            choices = Choices(email=person.choices.email, push=person.choices.push)
            source = _SOURCES.get(action, "import")
            await remember(connection, user_id, choices, source=source, actor_id=actor_id or user_id, version=1)
            return await visible(connection, user_id)

    async def user(self, user_id: UUID, *, seen_by: UUID, sees_all: bool) -> User | None:
        """None when there is none, or none that `seen_by` may see."""
        row = await self._database.fetchrow(_VISIBLE, user_id, seen_by, sees_all)
        return None if row is None else user_of(row)

    async def password_hash(self, user_id: UUID) -> str | None:
        """None where there is no user, or none who can log in."""
        kept: str | None = await self._database.fetchval(_PASSWORD, user_id)
        return kept

    async def user_by_email(self, email_key: str) -> User | None:
        row = await self._database.fetchrow(_BY_EMAIL, email_key)
        return None if row is None else user_of(row)


async def visible(connection: Connection, user_id: UUID) -> User:
    """One that was written in this transaction, or is locked by it."""
    row = await connection.fetchrow(_VISIBLE, user_id, user_id, True)
    assert row is not None, "the row was written in this transaction"
    return user_of(row)


def user_of(row: Row) -> User:
    given = dict(row)
    choices = ChannelChoices(email=given.pop("takes_email"), push=given.pop("takes_push"))
    return User(**given, preferences=choices)
