"""The decision: every layer in its order, and nothing that was refused is ever allowed by a layer below."""

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.contracts.channels import CHANNELS, Channel
from carillon.contracts.preferences import ByChannel, CategoryRule, Choices, Reach, decide, urgent
from carillon.contracts.users import Decision, DecisionLayer

names = st.sampled_from(["news", "billing", "login"])
parts = st.builds(
    ByChannel,
    email=st.just(msgspec.UNSET) | st.booleans(),
    push=st.just(msgspec.UNSET) | st.booleans(),
)
choices = st.builds(
    Choices, email=st.booleans(), push=st.booleans(), categories=st.dictionaries(names, st.booleans() | parts)
)
channels = st.sampled_from(CHANNELS)
rules = st.none() | st.builds(
    CategoryRule,
    allowed=st.booleans(),
    required_channels=st.lists(channels, unique=True).map(tuple),
    urgent=st.booleans(),
)
reaches = st.sampled_from(get_args(Reach))
questions = st.fixed_dictionaries({"channel": channels, "category": st.none() | names, "rule": rules, "reach": reaches})

NEWS = CategoryRule(allowed=False)
ACCOUNT = CategoryRule(required_channels=("email",))


def chose(news: bool | ByChannel, **given_choices: Any) -> Choices:  # noqa: FBT001 - it is the choice
    return Choices(categories={"news": news}, **given_choices)


@pytest.mark.parametrize(
    ("given_choices", "rule", "reach", "outcome"),
    [
        (Choices(), None, "reachable", (True, "channel_default")),
        (Choices(push=False), None, "reachable", (True, "channel_default")),
        (Choices(), CategoryRule(), "reachable", (True, "category_default")),
        (Choices(), NEWS, "reachable", (False, "category_default")),
        (chose(True), NEWS, "reachable", (True, "category_choice")),
        (chose(False), None, "reachable", (False, "category_choice")),
        (chose(ByChannel(email=True)), NEWS, "reachable", (True, "category_channel_choice")),
        (chose(ByChannel(email=False)), None, "reachable", (False, "category_channel_choice")),
        (chose(ByChannel(push=True)), NEWS, "reachable", (False, "category_default")),
        (chose(ByChannel(push=False)), None, "reachable", (True, "channel_default")),
        (Choices(categories={"billing": False}), None, "reachable", (True, "channel_default")),
        (Choices(email=False), None, "reachable", (False, "channel_opt_out")),
        (chose(True, email=False), NEWS, "reachable", (False, "channel_opt_out")),
        (chose(ByChannel(email=True), email=False), NEWS, "reachable", (False, "channel_opt_out")),
        (Choices(), ACCOUNT, "reachable", (True, "category_required")),
        (chose(False, email=False), ACCOUNT, "reachable", (True, "category_required")),
        (chose(False), CategoryRule(required_channels=("push",)), "reachable", (False, "category_choice")),
        (Choices(), None, "unreachable", (False, "unreachable")),
        (Choices(), ACCOUNT, "unreachable", (False, "unreachable")),
        (Choices(), ACCOUNT, "suspended", (False, "unreachable")),
        (Choices(email=False), None, "unreachable", (False, "channel_opt_out")),
        (Choices(email=False), None, "suspended", (False, "channel_opt_out")),
        (chose(False), None, "unreachable", (False, "category_choice")),
        (Choices(), NEWS, "unreachable", (False, "category_default")),
        (Choices(email=False), None, "suppressed", (False, "suppressed_address")),
        (Choices(), ACCOUNT, "suppressed", (False, "suppressed_address")),
    ],
)
def test_the_first_layer_that_has_a_say_decides(
    given_choices: Choices, rule: CategoryRule | None, reach: Reach, outcome: tuple[bool, str]
) -> None:
    decision = decide(given_choices, channel="email", category="news", rule=rule, reach=reach)

    assert (decision.allowed, decision.layer) == outcome
    assert decision.reason


def test_without_a_category_no_choice_for_one_has_a_say() -> None:
    decision = decide(chose(False), channel="email", category=None, rule=None, reach="reachable")

    assert (decision.allowed, decision.layer) == (True, "channel_default")


@given(choices, questions)
def test_every_layer_is_told_in_order_and_the_first_that_speaks_is_the_answer(
    chosen: Choices, question: dict[str, Any]
) -> None:
    decision = decide(chosen, **question)

    assert tuple(verdict.layer for verdict in decision.layers) == get_args(DecisionLayer)
    assert all(verdict.reason for verdict in decision.layers)
    *consent, reach = decision.layers
    first = next((verdict for verdict in consent if verdict.allows is not None), None)
    assert first is not None, "something always has a say"
    expected = reach if first.allows and reach.allows is False else first
    assert (decision.allowed, decision.layer, decision.reason) == (expected.allows, expected.layer, expected.reason)


@given(choices, questions)
def test_nobody_is_notified_against_any_refusal(chosen: Choices, question: dict[str, Any]) -> None:
    """Said anew, without layers: what may be sent was asked for by nobody's refusal, or is required."""
    channel, rule = question["channel"], question["rule"]
    choice = chosen.categories.get(question["category"])
    by_channel = getattr(choice, channel) if isinstance(choice, ByChannel) else choice
    undecided = by_channel in (None, msgspec.UNSET)
    refused = (
        not getattr(chosen, channel) or by_channel is False or (undecided and rule is not None and not rule.allowed)
    )
    required = rule is not None and channel in rule.required_channels

    decision = decide(chosen, **question)

    assert decision.allowed is (question["reach"] == "reachable" and (required or not refused))


@given(choices, questions, st.sampled_from(["email", "push", "category", "part"]))
def test_opting_out_of_anything_never_lets_more_through(chosen: Choices, question: dict[str, Any], off: str) -> None:
    category = question["category"] or "news"
    refusals: dict[str, dict[str, Any]] = {
        "email": {"email": False},
        "push": {"push": False},
        "category": {"categories": {**chosen.categories, category: False}},
        "part": {"categories": {**chosen.categories, category: ByChannel(**{question["channel"]: False})}},
    }
    less = msgspec.structs.replace(chosen, **refusals[off])

    assert decide(chosen, **question).allowed or not decide(less, **question).allowed


@given(choices, questions)
def test_what_is_required_beats_every_refusal_but_not_a_suppressed_address(
    chosen: Choices, question: dict[str, Any]
) -> None:
    question["rule"] = CategoryRule(allowed=False, required_channels=(question["channel"],))

    decision = decide(chosen, **question)

    assert decision.allowed is (question["reach"] == "reachable")
    if question["reach"] == "suppressed":
        assert decision.layer == "suppressed_address"


@given(choices, questions)
def test_a_refusal_stays_the_reason_whether_or_not_there_is_an_address(
    chosen: Choices, question: dict[str, Any]
) -> None:
    there = decide(chosen, **{**question, "reach": "reachable"})
    nowhere = decide(chosen, **{**question, "reach": "unreachable"})

    assert nowhere.allowed is False
    assert nowhere.layer == ("unreachable" if there.allowed else there.layer)


@given(choices, questions)
def test_the_other_channel_has_no_say(chosen: Choices, question: dict[str, Any]) -> None:
    other: Channel = "push" if question["channel"] == "email" else "email"
    flipped = msgspec.structs.replace(chosen, **{other: not getattr(chosen, other)})

    assert decide(chosen, **question) == decide(flipped, **question)


@given(choices, questions)
def test_an_unknown_category_invents_neither_a_consent_nor_a_refusal(chosen: Choices, question: dict[str, Any]) -> None:
    undecided = msgspec.structs.replace(chosen, categories={})

    unknown = decide(undecided, **{**question, "rule": None})

    assert unknown.allowed is (question["reach"] == "reachable" and getattr(chosen, question["channel"]))


@given(choices, questions)
def test_a_decision_survives_the_wire_and_is_read_by_a_release_that_knows_no_layers(
    chosen: Choices, question: dict[str, Any]
) -> None:
    decision = decide(chosen, **question)
    wire = msgspec.json.encode(decision)

    assert msgspec.json.decode(wire, type=Decision) == decision
    old = msgspec.json.encode({"allowed": True, "layer": "a_layer_of_next_year", "reason": "because"})
    assert msgspec.json.decode(old, type=Decision) == Decision(True, "a_layer_of_next_year", "because")


@pytest.mark.parametrize(
    ("rule", "expected"),
    [(None, False), (CategoryRule(), False), (CategoryRule(urgent=True), True), (ACCOUNT, True)],
)
def test_what_is_urgent_or_required_waits_for_no_quiet_hours(rule: CategoryRule | None, *, expected: bool) -> None:
    assert urgent("email", rule) is expected
