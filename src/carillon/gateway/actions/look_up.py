"""Asking users and templates about a request at the same time; silence is an answer that harms nobody."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, TypeVar

import structlog

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
