"""Rules choose by pattern, place, share and number of times; the same seed and order choose the same."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.simulators.domain.rules import Choices, Rule, fault

REFUSE: dict[str, Any] = {"do": "refuse", "code": 451}


def deeds(choices: Choices, *recipients: str) -> list[str]:
    return [choices.choose(to).rule.do for to in recipients]


def test_without_rules_everything_is_accepted_and_numbered() -> None:
    choices = Choices([], 0)

    chosen = [choices.choose("ada@example.com") for _ in range(3)]

    assert [(each.number, each.rule.do, each.place) for each in chosen] == [
        (1, "accept", None),
        (2, "accept", None),
        (3, "accept", None),
    ]


def test_the_first_rule_that_matches_has_the_message() -> None:
    choices = Choices([Rule(do="accept", to="ada@*"), Rule(do="dead", to="*@EXAMPLE.com"), Rule(do="drop")], 0)

    chosen = [choices.choose(to) for to in ("Ada@example.com", "bob@example.com", "bob@elsewhere.example")]

    assert [(each.rule.do, each.place) for each in chosen] == [("accept", 1), ("dead", 2), ("drop", 3)]


def test_nth_and_every_count_the_messages_that_match() -> None:
    third = Choices([Rule(**REFUSE, to="a", nth=3)], 0)
    every_second = Choices([Rule(**REFUSE, every=2)], 0)

    assert deeds(third, "a", "b", "a", "b", "a", "a") == ["accept"] * 4 + ["refuse", "accept"]
    assert deeds(every_second, "a", "a", "a", "a") == ["accept", "refuse"] * 2


def test_what_an_earlier_rule_took_is_counted_as_well() -> None:
    choices = Choices([Rule(do="drop", nth=1), Rule(**REFUSE, nth=2)], 0)

    assert deeds(choices, "a", "a", "a") == ["drop", "refuse", "accept"]


def test_times_is_for_all_and_times_each_for_one_recipient() -> None:
    twice = Choices([Rule(**REFUSE, times=2)], 0)
    twice_each = Choices([Rule(**REFUSE, times_each=2)], 0)

    assert deeds(twice, "a", "b", "a", "b") == ["refuse", "refuse", "accept", "accept"]
    assert deeds(twice_each, "a", "b", "A", "b", "a", "c") == ["refuse"] * 4 + ["accept", "refuse"]


@given(seed=st.integers(0, 2**53), share=st.floats(0.05, 0.95))
def test_a_share_is_drawn_by_seed_and_number_alone(seed: int, share: float) -> None:
    rules = [Rule(**REFUSE, share=share), Rule(do="drop", share=share)]
    recipients = [f"{n % 7}@example.com" for n in range(60)]

    assert deeds(Choices(rules, seed), *recipients) == deeds(Choices(rules, seed), *recipients)


def test_a_share_is_about_kept_and_another_seed_draws_others() -> None:
    one, other = (deeds(Choices([Rule(**REFUSE, share=0.2)], seed), *["a"] * 5_000) for seed in (1, 2))

    assert 850 < Counter(one)["refuse"] < 1_150
    assert one != other


def test_a_share_of_nothing_and_of_all_are_exact() -> None:
    assert set(deeds(Choices([Rule(**REFUSE, share=0)], 5), *["a"] * 300)) == {"accept"}
    assert set(deeds(Choices([Rule(**REFUSE, share=1)], 5), *["a"] * 300)) == {"refuse"}


def test_the_dead_stay_dead_and_the_living_alive() -> None:
    choices = Choices([Rule(do="dead", share=0.3)], 9)
    tokens = [f"token-{n}" for n in range(200)]

    first, second = deeds(choices, *tokens), deeds(choices, *reversed(tokens))

    assert first == second[::-1]
    assert set(first) == {"dead", "accept"}


def test_to_forget_begins_anew() -> None:
    choices = Choices([Rule(**REFUSE, times=1)], 0)
    before = deeds(choices, "a", "a")

    choices.forget()

    assert choices.choose("a").number == 1
    assert before == ["refuse", "accept"]
    assert deeds(choices, "a") == ["accept"]


@pytest.mark.parametrize(
    ("kind", "fields", "says"),
    [
        ("smtp", {"do": "refuse"}, "refuse needs a code"),
        ("smtp", {"do": "accept", "code": 550}, "accept takes no code"),
        ("smtp", {"do": "hang", "when": "during"}, "during is for drop"),
        ("smtp", {**REFUSE, "nth": 1, "every": 2}, "not both"),
        ("smtp", {**REFUSE, "retry_after": 3}, "no retry_after"),
        ("fcm", {"do": "bounce"}, "only mail bounces"),
        ("fcm", {**REFUSE, "when": "after"}, "without when"),
    ],
)
def test_a_rule_that_makes_no_sense_says_why(kind: Any, fields: dict[str, Any], says: str) -> None:
    assert says in fault(Rule(**fields), kind)


@pytest.mark.parametrize("pattern", ["*" * 300 + "b", "[" * 500, "*a" * 400 + "b", "[!]", "]", "[z-a]"])
def test_a_hostile_pattern_is_only_a_pattern(pattern: str) -> None:
    assert deeds(Choices([Rule(**REFUSE, to=pattern)], 0), "a" * 1_000) == ["accept"]
