"""What somebody agreed to, and how they are reached."""

from typing import Literal
from uuid import UUID

import msgspec

from carillon.contracts.channels import Channel
from carillon.contracts.preferences import Choices, Reach, decide
from carillon.contracts.users import Contact, Device

Status = Literal["active", "suspended"]
CATEGORY = r"\A[a-z0-9][a-z0-9_.\-]*\Z"
MOST_CATEGORIES = 200


class ChannelChoices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Opt in or out, by channel."""

    email: bool = True
    push: bool = True


class Preferences(msgspec.Struct, frozen=True, kw_only=True):
    """What a user agreed to. `version` rises with every change of the user; `quiet_hours` are not taken yet."""

    email: bool
    push: bool
    categories: dict[str, bool]
    quiet_hours: None = None
    version: int


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """All that a look-up of contact or preferences needs, read in one query."""

    user_id: UUID
    name: str
    email: str | None
    locale: str | None
    status: Status
    version: int
    choices: Choices
    suppressed: bool
    devices: list[Device]


def preferences_of(person: Person) -> Preferences:
    choices = person.choices
    return Preferences(
        email=choices.email, push=choices.push, categories=dict(choices.categories), version=person.version
    )


def contact_of(person: Person, channel: Channel, category: str | None) -> Contact:
    """The addresses of one channel, and the decision."""
    return Contact(
        user_id=person.user_id,
        name=person.name,
        email=person.email if channel == "email" else None,
        locale=person.locale,
        devices=person.devices if channel == "push" else [],
        decision=decide(person.choices, channel=channel, category=category, reach=_reach(person, channel)),
        version=person.version,
    )


def _reach(person: Person, channel: Channel) -> Reach:
    if channel == "email" and person.suppressed:
        return "suppressed"
    reached = person.email if channel == "email" else person.devices
    return "reachable" if reached and person.status == "active" else "unreachable"
