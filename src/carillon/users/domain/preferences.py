"""What somebody agreed to, how that changes, and how they are reached."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from carillon.contracts.channels import CHANNELS, Channel
from carillon.contracts.people import Preferences, Status
from carillon.contracts.preferences import ByChannel, CategoryChoice, CategoryRule, Choices, Reach, decide, urgent
from carillon.contracts.quiet_hours import QuietHours, zone_of
from carillon.contracts.users import Contact, Device
from carillon.kit.errors import invalid

ChangeSource = Literal["self", "admin", "registration", "contact", "import", "unsubscribe", "before_history"]
CATEGORY = r"\A[a-z0-9][a-z0-9_.\-]*\Z"
VERIFICATION = "email_verification"
MOST_CATEGORIES = 200


class PreferenceChange(msgspec.Struct, frozen=True, kw_only=True):
    """One change: everything that was agreed to after it, who made it, how, and from which login."""

    change_id: UUID
    at: datetime
    source: ChangeSource
    actor_id: UUID | None
    session_id: UUID | None
    correlation_id: str
    preferences: Preferences


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """All that a look-up of contact or preferences needs, read in one query."""

    user_id: UUID
    name: str
    email: str | None
    locale: str | None
    timezone: str | None = None
    status: Status
    version: int
    choices: Choices
    suppressed: bool
    devices: list[Device]
    pending_email: str | None = None


Adjusted: TypeAlias = bool | Mapping[Channel, bool | None] | None
"""For a category: a choice, undecided, or the same by channel."""


@dataclass(frozen=True, slots=True)
class Adjustment:
    """Part of the preferences: None and UNSET leave what is there; `quiet_hours` of None takes them away."""

    email: bool | None = None
    push: bool | None = None
    categories: Mapping[str, Adjusted] = field(default_factory=dict)
    quiet_hours: QuietHours | UnsetType | None = UNSET


def adjusted(choices: Choices, change: Adjustment) -> Choices:
    """The choices after the change. Raises Invalid where more categories would be kept than are."""
    categories = dict(choices.categories)
    for name, wanted in change.categories.items():
        kept = _merged(categories.pop(name, None), wanted)
        if kept is not None:
            categories[name] = kept
    if len(categories) > MOST_CATEGORIES:
        raise invalid("categories", f"At most {MOST_CATEGORIES} are kept; set some to null first.")
    return Choices(
        email=choices.email if change.email is None else change.email,
        push=choices.push if change.push is None else change.push,
        categories=categories,
        quiet_hours=choices.quiet_hours if change.quiet_hours is UNSET else change.quiet_hours,
    )


def _merged(present: CategoryChoice | None, wanted: Adjusted) -> CategoryChoice | None:
    """By channel a choice is merged into what is there, where one for all counts for each; none left is undecided."""
    if wanted is None or isinstance(wanted, bool):
        return wanted
    by_channel: dict[Channel, bool | None] = {**_by_channel(present), **wanted}
    left = {channel: choice for channel, choice in by_channel.items() if choice is not None}
    return ByChannel(**left) if left else None


def _by_channel(choice: CategoryChoice | None) -> dict[Channel, bool | None]:
    if isinstance(choice, ByChannel):
        return {channel: value for channel in CHANNELS if (value := getattr(choice, channel)) is not UNSET}
    return dict.fromkeys(CHANNELS, choice)


def choices_of(kept: Mapping[str, Any]) -> Choices:
    """Choices as they were written to the store. What a later release added to them is left alone."""
    return msgspec.convert(dict(kept), Choices)


def preferences_of(person: Person) -> Preferences:
    return agreed(person.choices, person.version)


def agreed(choices: Choices, version: int) -> Preferences:
    return Preferences(
        email=choices.email,
        push=choices.push,
        categories=dict(choices.categories),
        quiet_hours=choices.quiet_hours,
        version=version,
    )


def contact_of(person: Person, channel: Channel, category: str | None, rule: CategoryRule | None) -> Contact:
    """The addresses of one channel, the decision, and when not to disturb."""
    person = _confirming(person) if category == VERIFICATION else person
    decision = decide(person.choices, channel=channel, category=category, rule=rule, reach=_reach(person, channel))
    return Contact(
        user_id=person.user_id,
        name=person.name,
        email=person.email if channel == "email" else None,
        locale=person.locale,
        devices=person.devices if channel == "push" else [],
        decision=decision,
        version=person.version,
        quiet_hours=_quiet_hours(person),
        urgent=urgent(channel, rule),
    )


def _quiet_hours(person: Person) -> QuietHours | None:
    quiet = person.choices.quiet_hours
    if quiet is None:
        return None
    return msgspec.structs.replace(quiet, timezone=zone_of(quiet.timezone or person.timezone).key)


def _confirming(person: Person) -> Person:
    """The mail that confirms an address goes to the one that waits. Whether that one bounced was asked before."""
    if person.pending_email is None:
        return person
    return msgspec.structs.replace(person, email=person.pending_email, suppressed=False)


def _reach(person: Person, channel: Channel) -> Reach:
    if channel == "email" and person.suppressed:
        return "suppressed"
    if person.status != "active":
        return "suspended"
    return "reachable" if (person.email if channel == "email" else person.devices) else "unreachable"
