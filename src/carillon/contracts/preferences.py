"""The one decision whether a user may be notified: pure, and the same wherever it is taken."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from carillon.contracts.channels import Channel
from carillon.contracts.users import Decision

Reach = Literal["reachable", "suppressed", "unreachable"]


class Choices(msgspec.Struct, frozen=True):
    """What a user agreed to: by channel, and by category where they chose."""

    email: bool = True
    push: bool = True
    categories: Mapping[str, bool] = {}


_WORD: dict[Channel, str] = {"email": "e-mail", "push": "push"}


def decide(choices: Choices, *, channel: Channel, category: str | None, reach: Reach) -> Decision:
    """The first layer that has a say wins: suppressed address, channel opt-out, category choice, reachability.

    A refusal by the user comes before "unreachable": it stays true when an address is added. A category that was chosen
    never overrides the opt-out of its channel.
    """
    word = _WORD[channel]
    chosen = choices.categories.get(category) if category is not None else None
    if reach == "suppressed":
        return Decision(allowed=False, layer="suppressed_address", reason=f"The {word} address is suppressed.")
    if not getattr(choices, channel):
        return Decision(allowed=False, layer="channel_opt_out", reason=f"The user opted out of {word}.")
    if chosen is False:
        return Decision(allowed=False, layer="category_choice", reason=f"The user opted out of {category!r}.")
    if reach == "unreachable":
        return Decision(allowed=False, layer="unreachable", reason=f"The user cannot be reached by {word}.")
    if chosen:
        return Decision(allowed=True, layer="category_choice", reason=f"The user chose {category!r}.")
    return Decision(allowed=True, layer="channel_default", reason=f"The user takes {word}.")
