"""The retry decision, for every failure, attempt, age and chance."""

from hypothesis import given
from hypothesis import strategies as st

from carillon.delivery.domain import (
    Failed,
    Policy,
    Refused,
    decide,
    language_of,
    longest_delay,
    patience,
    rung,
)
from carillon.kit.broker.port import DeadLetter, RetryAfter

CHANCE = st.floats(0, 1, exclude_max=True)
POLICIES = st.builds(
    Policy,
    max_attempts=st.integers(1, 50),
    base=st.floats(0.01, 60),
    factor=st.floats(1, 10),
    cap=st.floats(1, 7200),
    give_up=st.floats(60, 1e6),
)


@given(POLICIES, st.integers(1, 10_000), CHANCE, st.floats(0, 1e7))
def test_a_refusal_is_never_tried_again(policy: Policy, attempt: int, chance: float, age: float) -> None:
    assert decide(Refused("no"), attempt, policy, chance=chance, age=age) == DeadLetter("no")


@given(POLICIES, st.integers(1, 100), CHANCE)
def test_a_failure_is_tried_again_exactly_until_its_attempts_are_used_up(
    policy: Policy, attempt: int, chance: float
) -> None:
    lasting = Policy(policy.max_attempts, policy.base, policy.factor, policy.cap, give_up=1e9)
    decision = decide(Failed("busy"), attempt, lasting, chance=chance)

    assert isinstance(decision, RetryAfter) == (attempt < policy.max_attempts)


@given(POLICIES, st.integers(1, 49), CHANCE, st.floats(0, 1e5) | st.none(), st.floats(0, 1e6))
def test_the_delay_keeps_its_bounds_and_the_providers_wish(
    policy: Policy, attempt: int, chance: float, wish: float | None, age: float
) -> None:
    decision = decide(Failed("busy", retry_after=wish), attempt, policy, chance=chance, age=age)

    if isinstance(decision, RetryAfter):
        assert 0 <= decision.delay <= policy.cap
        assert decision.delay >= min(wish or 0, policy.cap)
        assert age + decision.delay <= policy.give_up
        assert decision.reason == "busy"


@given(POLICIES, st.integers(1, 10_000))
def test_the_longest_delay_grows_up_to_the_cap(policy: Policy, attempt: int) -> None:
    assert longest_delay(attempt, policy) <= longest_delay(attempt + 1, policy) <= policy.cap


@given(POLICIES, st.integers(1, 40))
def test_jitter_is_full_so_that_a_crowd_spreads_over_the_whole_range(policy: Policy, attempt: int) -> None:
    lasting = Policy(100, policy.base, policy.factor, policy.cap, give_up=1e9)
    low, high = (decide(Failed("busy"), attempt, lasting, chance=chance) for chance in (0.0, 0.999))

    assert isinstance(low, RetryAfter)
    assert isinstance(high, RetryAfter)
    assert low.delay == 0
    assert high.delay >= 0.99 * longest_delay(attempt, lasting)


def test_past_the_age_of_giving_up_it_has_failed() -> None:
    assert decide(Failed("busy"), 1, Policy(give_up=60), chance=0.5, age=60) == DeadLetter("gave_up")


@given(st.integers(0, 10_000), CHANCE, st.none() | st.floats(0, 3600))
def test_waiting_is_patient_but_never_longer_than_a_minute_unless_asked(
    seen: int, chance: float, wish: float | None
) -> None:
    delay = patience(seen, chance=chance, at_least=wish)
    assert 1 <= delay <= max(60, wish or 0)


def test_a_delay_may_take_as_long_as_the_next_rung() -> None:
    ladder = (5.0, 30.0, 120.0)
    assert [rung(delay, ladder) for delay in (0, 5, 5.1, 119, 121)] == [5, 5, 30, 120, 121]
    assert rung(7, ()) == 7


def test_a_locale_becomes_a_language_or_none() -> None:
    locales = ["pt_BR", "pt-BR", "en_US.UTF-8", "de", "", None, "C", "../etc", "xx-" + "y" * 9]
    assert [language_of(locale) for locale in locales] == [
        "pt-BR",
        "pt-BR",
        "en-US",
        "de",
        None,
        None,
        None,
        None,
        None,
    ]
