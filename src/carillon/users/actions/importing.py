"""People of another system, with the hashes of their passwords; nobody who is there already is changed."""

import re
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from carillon.contracts.imports import Imported, UserToImport
from carillon.contracts.people import ChannelChoices, User
from carillon.contracts.templates import LANGUAGE
from carillon.kit.errors import Invalid, invalid
from carillon.users.domain.hashes import HashRefused, read_hash
from carillon.users.domain.people import ONE_LINE, NewPerson, address, checked_attributes
from carillon.users.domain.profile import checked_timezone

_LONGEST_NAME = 200
_NAME, _LANGUAGE = re.compile(ONE_LINE), re.compile(LANGUAGE)


class People(Protocol):
    """Where people are kept; None for an address that somebody has."""

    async def add(self, person: NewPerson, *, actor_id: UUID | None, action: str) -> User | None: ...


async def import_users(wanted: Sequence[UserToImport], *, people: People, actor_id: UUID) -> list[Imported]:
    """Each on its own, so that a second run finds those of the first and goes on with the rest."""
    return [await _import(one, people=people, actor_id=actor_id) for one in wanted]


async def _import(one: UserToImport, *, people: People, actor_id: UUID) -> Imported:
    try:
        person = checked(one)
    except Invalid as error:
        return Imported("refused", reason=error.message)
    made = await people.add(person, actor_id=actor_id, action="user_imported")
    return Imported("there") if made is None else Imported("made", made.user_id)


def checked(one: UserToImport) -> NewPerson:
    """Raises Invalid with the first thing that is wrong. A hash is read and bounded, and never computed here."""
    known_as = address(one.email)
    name = known_as.shown.rpartition("@")[0] if one.name is None else one.name.strip()
    if len(name) > _LONGEST_NAME or not _NAME.search(name):
        raise invalid("name", f"Expected one line of 1 to {_LONGEST_NAME} characters without control characters.")
    if one.locale is not None and not _LANGUAGE.search(one.locale):
        raise invalid("locale", "Expected BCP 47, e.g. pt-BR.")
    try:
        kept = None if one.password_hash is None else read_hash(one.password_hash).text
    except HashRefused as error:
        raise invalid("password_hash", f"{error}.") from None
    return NewPerson(
        name=name,
        address=known_as,
        password_hash=kept,
        choices=ChannelChoices(),
        push_token=None,
        attributes=checked_attributes(one.attributes or {}),
        locale=one.locale,
        timezone=one.timezone and checked_timezone(one.timezone),
        verified=one.verified,
    )
