"""The decision: every layer in its order, and nothing that was refused is ever allowed by something else."""

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.contracts.channels import CHANNELS, Channel
from carillon.contracts.preferences import Choices, Reach, decide

names = st.sampled_from(["news", "billing", "login"])
choices = st.builds(Choices, email=st.booleans(), push=st.booleans(), categories=st.dictionaries(names, st.booleans()))
channels = st.sampled_from(CHANNELS)
categories = st.none() | names
reaches = st.sampled_from(get_args(Reach))


@pytest.mark.parametrize(
    ("given_choices", "category", "reach", "outcome"),
    [
        (Choices(), None, "reachable", (True, "channel_default")),
        (Choices(), "news", "reachable", (True, "channel_default")),
        (Choices(categories={"news": True}), "news", "reachable", (True, "category_choice")),
        (Choices(categories={"news": False}), "news", "reachable", (False, "category_choice")),
        (Choices(categories={"news": False}), "billing", "reachable", (True, "channel_default")),
        (Choices(categories={"news": False}), None, "reachable", (True, "channel_default")),
        (Choices(email=False), None, "reachable", (False, "channel_opt_out")),
        (Choices(email=False, categories={"news": True}), "news", "reachable", (False, "channel_opt_out")),
        (Choices(push=False), None, "reachable", (True, "channel_default")),
        (Choices(), None, "unreachable", (False, "unreachable")),
        (Choices(email=False), None, "unreachable", (False, "channel_opt_out")),
        (Choices(categories={"news": False}), "news", "unreachable", (False, "category_choice")),
        (Choices(email=False), None, "suppressed", (False, "suppressed_address")),
    ],
)
def test_the_first_layer_that_has_a_say_decides(
    given_choices: Choices, category: str | None, reach: Reach, outcome: tuple[bool, str]
) -> None:
    decision = decide(given_choices, channel="email", category=category, reach=reach)

    assert (decision.allowed, decision.layer) == outcome
    assert decision.reason


@given(choices, channels, categories, reaches)
def test_nobody_is_notified_against_any_refusal(
    chosen: Choices, channel: Channel, category: str | None, reach: Reach
) -> None:
    decision = decide(chosen, channel=channel, category=category, reach=reach)

    refused = (
        reach != "reachable"
        or not getattr(chosen, channel)
        or (category is not None and chosen.categories.get(category) is False)
    )
    assert decision.allowed is not refused


@given(choices, channels, categories, reaches, st.sampled_from(["email", "push", "category"]))
def test_opting_out_of_anything_never_lets_more_through(
    chosen: Choices, channel: Channel, category: str | None, reach: Reach, off: str
) -> None:
    less = (
        msgspec.structs.replace(chosen, categories={**chosen.categories, category or "news": False})
        if off == "category"
        else msgspec.structs.replace(chosen, **{off: False})
    )

    before = decide(chosen, channel=channel, category=category, reach=reach).allowed
    after = decide(less, channel=channel, category=category, reach=reach).allowed

    assert before or not after


@given(choices, channels, categories, reaches)
def test_the_other_channel_has_no_say(chosen: Choices, channel: Channel, category: str | None, reach: Reach) -> None:
    other = "push" if channel == "email" else "email"
    flipped = msgspec.structs.replace(chosen, **{other: not getattr(chosen, other)})

    assert decide(chosen, channel=channel, category=category, reach=reach) == decide(
        flipped, channel=channel, category=category, reach=reach
    )
