"""The one decision whether a user may be notified: pure, and the same wherever it is taken."""

import functools
from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from carillon.contracts.channels import Channel
from carillon.contracts.quiet_hours import QuietHours
from carillon.contracts.users import Decision, DecisionLayer, LayerVerdict

Reach = Literal["reachable", "suppressed", "unreachable", "suspended"]


class ByChannel(msgspec.Struct, frozen=True):
    """A choice for a category on some channels; the others are undecided."""

    email: bool | UnsetType = UNSET
    push: bool | UnsetType = UNSET


CategoryChoice: TypeAlias = bool | ByChannel


class Choices(msgspec.Struct, frozen=True):
    """What a user agreed to: by channel, and by category where they chose; and when they want no disturbance."""

    email: bool = True
    push: bool = True
    categories: Mapping[str, CategoryChoice] = {}
    quiet_hours: QuietHours | None = None


class CategoryRule(msgspec.Struct, frozen=True):
    """What holds of a category for those who have not chosen, and the channels on which choosing does not count."""

    allowed: bool = True
    required_channels: tuple[Channel, ...] = ()
    urgent: bool = False


_WORD: dict[Channel, str] = {"email": "e-mail", "push": "push"}


def decide(
    choices: Choices, *, channel: Channel, category: str | None, rule: CategoryRule | None, reach: Reach
) -> Decision:
    """The first layer that has a say wins, and every layer's verdict is told in order: suppressed address, required
    channel of the category, channel opt-out, choice for the category on this channel, choice for the category, default
    of the category, default of the channel.

    Whether the user can be reached is asked last: it only takes back a yes, so that a refusal stays the reason when an
    address is added. `rule` None: nobody knows this category, so it has no say.
    """
    choice = choices.categories.get(category) if category is not None else None
    whole = choice if isinstance(choice, bool) else None
    part = getattr(choice, channel) if isinstance(choice, ByChannel) else UNSET
    chosen = None if part is UNSET else part
    return _decided(channel, category, getattr(choices, channel), chosen, whole, rule, reach)


def urgent(channel: Channel, rule: CategoryRule | None) -> bool:
    """Whether quiet hours do not hold it up: the category is urgent, or requires this channel."""
    return rule is not None and (rule.urgent or channel in rule.required_channels)


@functools.lru_cache(maxsize=2048)
def _decided(
    channel: Channel,
    category: str | None,
    takes_channel: bool,  # noqa: FBT001 - positions are the key of the cache
    chosen: bool | None,  # noqa: FBT001
    whole: bool | None,  # noqa: FBT001
    rule: CategoryRule | None,
    reach: Reach,
) -> Decision:
    layers = (
        _suppression(channel, reach),
        _requirement(channel, category, rule, refused=not takes_channel or False in (chosen, whole)),
        _opt_out(channel, takes_channel=takes_channel),
        _choice("category_channel_choice", f"{category!r} by {_WORD[channel]}", chosen),
        _choice("category_choice", repr(category), whole),
        _default(category, rule),
        _channel_default(channel, takes_channel=takes_channel),
        _reach(channel, reach),
    )
    said = next(verdict for verdict in layers if verdict.allows is not None)
    if said.allows and layers[-1].allows is False:
        said = layers[-1]
    return Decision(allowed=said.allows is True, layer=said.layer, reason=said.reason, layers=layers)


def _suppression(channel: Channel, reach: Reach) -> LayerVerdict:
    if reach == "suppressed":
        return LayerVerdict("suppressed_address", allows=False, reason=f"The {_WORD[channel]} address is suppressed.")
    return _silent("suppressed_address", "No address is suppressed.")


def _requirement(channel: Channel, category: str | None, rule: CategoryRule | None, *, refused: bool) -> LayerVerdict:
    word = _WORD[channel]
    if rule is None or channel not in rule.required_channels:
        return _silent("category_required", f"Nothing requires {word}.")
    vain = " The user refused, which does not count here." if refused else ""
    return LayerVerdict("category_required", allows=True, reason=f"{category!r} requires {word}.{vain}")


def _opt_out(channel: Channel, *, takes_channel: bool) -> LayerVerdict:
    word = _WORD[channel]
    if takes_channel:
        return _silent("channel_opt_out", f"The user did not opt out of {word}.")
    return LayerVerdict("channel_opt_out", allows=False, reason=f"The user opted out of {word}.")


def _choice(layer: DecisionLayer, what: str, chosen: bool | None) -> LayerVerdict:  # noqa: FBT001 - it is the choice
    if chosen is None:
        return _silent(layer, "The user did not choose.")
    return LayerVerdict(layer, allows=chosen, reason=f"The user {'chose' if chosen else 'opted out of'} {what}.")


def _default(category: str | None, rule: CategoryRule | None) -> LayerVerdict:
    if rule is None:
        return _silent("category_default", "There is no such category, or none was given.")
    usual = "is sent" if rule.allowed else "is not sent"
    reason = f"{category!r} {usual} to those who have not chosen."
    return LayerVerdict("category_default", allows=rule.allowed, reason=reason)


def _channel_default(channel: Channel, *, takes_channel: bool) -> LayerVerdict:
    word = _WORD[channel]
    if takes_channel:
        return LayerVerdict("channel_default", allows=True, reason=f"The user takes {word}.")
    return _silent("channel_default", f"The user opted out of {word}.")


def _reach(channel: Channel, reach: Reach) -> LayerVerdict:
    if reach == "suspended":
        return LayerVerdict("unreachable", allows=False, reason="The user is suspended.")
    if reach == "unreachable":
        return LayerVerdict("unreachable", allows=False, reason=f"The user cannot be reached by {_WORD[channel]}.")
    return _silent("unreachable", "The user can be reached.")


def _silent(layer: DecisionLayer, reason: str) -> LayerVerdict:
    return LayerVerdict(layer, allows=None, reason=reason)
