"""Asking users and templates about a request at the same time; silence is an answer that harms nobody."""

import asyncio
from collections.abc import Awaitable, Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, TypeVar
from uuid import UUID

import structlog

from carillon.contracts.channels import Channel
from carillon.contracts.notifications import NotificationRequested
from carillon.contracts.templates import PublishedTemplate
from carillon.contracts.users import Contact
from carillon.gateway.actions.ports import Contacts, Templates
from carillon.gateway.errors import TemplateNotFound, UserNotFound
from carillon.kit.errors import NotFound, Unavailable
from carillon.kit.http.client import ServiceRefused, ServiceUnavailable

_log = structlog.get_logger()

T = TypeVar("T")


class Silence(Enum):
    """Nobody could be asked."""

    AWAY = "away"


AWAY: Final = Silence.AWAY
Away = Literal[Silence.AWAY]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The services that know people and words; each question waits for `patience` seconds."""

    contacts: Contacts
    templates: Templates
    patience: float


@dataclass(frozen=True, slots=True)
class LookedUp:
    """What the neighbours said; None where they know nothing of the kind."""

    contact: Contact | Away | None
    template: PublishedTemplate | Away | None

    def unknown(self, asked: NotificationRequested) -> NotFound | None:
        """The failure to answer with, if any."""
        if self.contact is None:
            return UserNotFound(f"There is no user {asked.user_id}.")
        if self.template is None:
            return TemplateNotFound(
                f"No template {asked.template_code} is published for {asked.notification_type}: publish a version."
            )
        return None


async def look_up(asked: NotificationRequested, neighbours: Neighbours) -> LookedUp:
    """Both at once; the template once more in the user's own language where the default one has none."""
    code, channel = asked.template_code, asked.notification_type
    person = neighbours.contacts.remembered(asked.user_id, channel, None)
    words = neighbours.templates.remembered(code, channel, None)
    if person and words:  # spares two tasks and two deadlines
        return LookedUp(person, words)
    contact, template = await asyncio.gather(
        ask(neighbours, neighbours.contacts.contact(asked.user_id, channel, None)),
        ask(neighbours, neighbours.templates.published(code, channel, None)),
    )
    if template is None and isinstance(contact, Contact) and contact.locale:
        template = await ask(neighbours, neighbours.templates.published(code, channel, contact.locale))
    return LookedUp(contact, template)


async def look_up_all(asked: Sequence[NotificationRequested], neighbours: Neighbours) -> list[NotFound | None]:
    """The failure of each, if any; everybody and every template is asked about once, all at the same time."""
    left = {place: each for place, each in enumerate(asked) if not _remembered(each, neighbours)}
    failures = iter(await _ask_all(list(left.values()), neighbours)) if left else iter(())
    return [next(failures) if place in left else None for place in range(len(asked))]


def _remembered(asked: NotificationRequested, neighbours: Neighbours) -> bool:
    """Whether nobody needs to be asked: mostly so, and cheaper than finding out who is asked about twice."""
    channel = asked.notification_type
    person = neighbours.contacts.remembered(asked.user_id, channel, None)
    return bool(person and neighbours.templates.remembered(asked.template_code, channel, None))


async def _ask_all(asked: Sequence[NotificationRequested], neighbours: Neighbours) -> list[NotFound | None]:
    people, words = await asyncio.gather(
        _people({(each.user_id, each.notification_type) for each in asked}, neighbours),
        _words({(each.template_code, each.notification_type, None) for each in asked}, neighbours),
    )
    own = {key for each in asked if (key := _own_language(each, people, words)) is not None}
    words |= await _words(own, neighbours) if own else {}
    return [_found(each, people, words).unknown(each) for each in asked]


_Person = tuple[UUID, Channel]
_Words = tuple[str, Channel, str | None]
_People = dict[_Person, Contact | Away | None]
_Known = dict[_Words, PublishedTemplate | Away | None]


async def _people(wanted: Collection[_Person], neighbours: Neighbours) -> _People:
    contacts = neighbours.contacts
    found: _People = {key: contacts.remembered(*key, None) for key in wanted}
    missing = [key for key, contact in found.items() if contact is None]
    told = await asyncio.gather(*(ask(neighbours, contacts.contact(*key, None)) for key in missing))
    return found | dict(zip(missing, told, strict=True))


async def _words(wanted: Collection[_Words], neighbours: Neighbours) -> _Known:
    templates = neighbours.templates
    found: _Known = {key: templates.remembered(*key) for key in wanted}
    missing = [key for key, template in found.items() if template is None]
    told = await asyncio.gather(*(ask(neighbours, templates.published(*key)) for key in missing))
    return found | dict(zip(missing, told, strict=True))


def _own_language(asked: NotificationRequested, people: _People, words: _Known) -> _Words | None:
    """What is left to ask for where the default language has none."""
    contact = people[asked.user_id, asked.notification_type]
    if words[asked.template_code, asked.notification_type, None] is not None or not isinstance(contact, Contact):
        return None
    return (asked.template_code, asked.notification_type, contact.locale) if contact.locale else None


def _found(asked: NotificationRequested, people: _People, words: _Known) -> LookedUp:
    contact, template = (
        people[asked.user_id, asked.notification_type],
        words[asked.template_code, asked.notification_type, None],
    )
    if template is None and (own := _own_language(asked, people, words)) is not None:
        template = words[own]
    return LookedUp(contact, template)


async def ask(neighbours: Neighbours, question: Awaitable[T]) -> T | Away:
    """The answer, or AWAY where there is none in time."""
    try:
        async with asyncio.timeout(neighbours.patience):
            return await question
    except (ServiceUnavailable, Unavailable, TimeoutError):
        return AWAY
    except ServiceRefused as error:
        _log.warning("look_up_refused", status=error.status, code=error.code)
        return AWAY
