"""Becoming known: by registering, or as a contact that somebody else writes to."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol
from uuid import UUID

from carillon.kit.errors import Unavailable
from carillon.users.domain.passwords import check_password
from carillon.users.domain.people import NewPerson, User, address, checked_attributes
from carillon.users.domain.preferences import ChannelChoices
from carillon.users.domain.profile import checked_timezone
from carillon.users.errors import EmailTaken, RegistrationClosed

RegistrationMode = Literal["open", "closed"]


class People(Protocol):
    """Where people are kept."""

    async def add(self, person: NewPerson, *, actor_id: UUID | None, action: str) -> User | None: ...

    async def user_by_email(self, email_key: str) -> User | None: ...


class Hasher(Protocol):
    """Makes of a password what may be kept, and knows the ones that everybody uses."""

    async def hashed(self, password: str) -> str: ...

    def is_common(self, password: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Joining:
    """What somebody says of themselves."""

    name: str
    email: str
    password: str
    push_token: str | None
    preferences: ChannelChoices | None
    locale: str | None
    timezone: str | None = None


async def register(joining: Joining, *, people: People, passwords: Hasher, mode: RegistrationMode) -> User:
    """Raises RegistrationClosed, Invalid for an address that is none, WeakPassword, EmailTaken."""
    if mode == "closed":
        raise RegistrationClosed
    known_as = address(joining.email)
    check_password(joining.password, email=known_as.shown, name=joining.name, is_common=passwords.is_common)
    person = NewPerson(
        name=joining.name.strip(),
        address=known_as,
        password_hash=await passwords.hashed(joining.password),
        choices=joining.preferences or ChannelChoices(),
        push_token=joining.push_token,
        attributes={},
        locale=joining.locale,
        timezone=joining.timezone and checked_timezone(joining.timezone),
    )
    made = await people.add(person, actor_id=None, action="user_registered")
    if made is None:
        raise EmailTaken
    return made


async def ensure_contact(
    email: str, *, name: str | None, attributes: dict[str, Any], locale: str | None, people: People, actor_id: UUID
) -> tuple[User, bool]:
    """The person of this address as they are, or a new one without a password; the second value: whether it is new."""
    known_as = address(email)
    person = NewPerson(
        name=name.strip() if name else known_as.shown.rpartition("@")[0],
        address=known_as,
        password_hash=None,
        choices=ChannelChoices(),
        push_token=None,
        attributes=checked_attributes(attributes),
        locale=locale,
    )
    if found := await people.user_by_email(known_as.key):
        return found, False
    if made := await people.add(person, actor_id=actor_id, action="contact_made"):
        return made, True
    if found := await people.user_by_email(known_as.key):  # made by another request in between
        return found, False
    raise Unavailable("This person is being made and erased at the same moment: try again.")
