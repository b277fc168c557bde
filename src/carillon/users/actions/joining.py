"""Becoming known: by registering, or as a contact that somebody else writes to."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol
from uuid import UUID

from carillon.contracts.people import ChannelChoices, User
from carillon.kit.errors import Unavailable
from carillon.users.domain.idempotency import Once
from carillon.users.domain.passwords import check_password
from carillon.users.domain.people import NewPerson, address, checked_attributes
from carillon.users.domain.profile import checked_timezone
from carillon.users.errors import AlreadyMade, EmailTaken, RegistrationClosed, UnknownUser

RegistrationMode = Literal["open", "closed"]


class People(Protocol):
    """Where people are kept."""

    async def add(
        self,
        person: NewPerson,
        *,
        actor_id: UUID | None,
        action: str,
        once: Once | None = None,
        to_verify: bool = False,
    ) -> User | None: ...

    async def user(self, user_id: UUID, *, seen_by: UUID, sees_all: bool) -> User | None: ...

    async def user_by_email(self, email_key: str) -> User | None: ...

    async def password_hash(self, user_id: UUID) -> str | None: ...


class Keys(Protocol):
    """What was made under which key of idempotency."""

    async def made(self, once: Once | None) -> UUID | None: ...


class Hasher(Protocol):
    """Makes of a password what may be kept, and knows the ones that everybody uses."""

    async def hashed(self, password: str) -> str: ...

    def is_common(self, password: str) -> bool: ...

    async def matches(self, kept: str | None, password: str) -> bool: ...


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


@dataclass(frozen=True, slots=True)
class ContactWanted:
    """Somebody to write to."""

    email: str
    name: str | None
    attributes: dict[str, Any]
    locale: str | None


Contacted = Literal["made", "found", "made before"]


async def register_once(
    joining: Joining,
    once: Once | None,
    *,
    people: People,
    passwords: Hasher,
    mode: RegistrationMode,
    to_verify: bool = False,
) -> tuple[User, bool]:
    """The user, and whether they are new: the same key and body again is the same user, for whoever knows the password.

    Raises IdempotencyKeyReused for another body, and what `register` raises.
    """
    try:
        made = await register(joining, people=people, passwords=passwords, mode=mode, once=once, to_verify=to_verify)
    except AlreadyMade as before:
        user_id = before.resource_id
    else:
        return made, True
    right = await passwords.matches(await people.password_hash(user_id), joining.password)
    user = await people.user(user_id, seen_by=user_id, sees_all=False)
    if user is None or not right:
        raise EmailTaken
    return user, False


async def register(
    joining: Joining,
    *,
    people: People,
    passwords: Hasher,
    mode: RegistrationMode,
    once: Once | None = None,
    to_verify: bool = False,
) -> User:
    """`to_verify`: a mail asks to confirm the address.

    Raises RegistrationClosed, Invalid for an address that is none, WeakPassword, EmailTaken, AlreadyMade.
    """
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
    made = await people.add(person, actor_id=None, action="user_registered", once=once, to_verify=to_verify)
    if made is None:
        raise EmailTaken
    return made


async def ensure_contact_once(
    wanted: ContactWanted, once: Once | None, *, people: People, keys: Keys, actor_id: UUID
) -> tuple[User, Contacted]:
    """The person of this address: new, found, or made before by the same request. Raises IdempotencyKeyReused."""
    before = await keys.made(once)
    if before is None:
        try:
            user, new = await ensure_contact(
                wanted.email,
                name=wanted.name,
                attributes=wanted.attributes,
                locale=wanted.locale,
                people=people,
                actor_id=actor_id,
                once=once,
            )
        except AlreadyMade as made:
            before = made.resource_id
        else:
            return user, "made" if new else "found"
    found = await people.user(before, seen_by=actor_id, sees_all=True)
    if found is None:
        raise UnknownUser
    return found, "made before"


async def ensure_contact(
    email: str,
    *,
    name: str | None,
    attributes: dict[str, Any],
    locale: str | None,
    people: People,
    actor_id: UUID,
    once: Once | None = None,
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
    if made := await people.add(person, actor_id=actor_id, action="contact_made", once=once):
        return made, True
    if found := await people.user_by_email(known_as.key):  # made by another request in between
        return found, False
    raise Unavailable("This person is being made and erased at the same moment: try again.")
