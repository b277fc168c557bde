"""Refresh tokens as values: every genuine one is known for what it is, and nothing else is taken for one."""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.kit.ids import uuid7
from carillon.users.domain.refreshing import (
    MOST_STEPS,
    Chain,
    RefreshParts,
    Verdict,
    judged,
    refresh_hash,
    refresh_parts,
    refresh_text,
    shown_agent,
    successor,
)

SESSION, SALT = uuid7(), secrets.token_bytes(32)


def lineage(length: int) -> list[str]:
    found = [secrets.token_urlsafe(32)]
    while len(found) < length:
        found.append(successor(SALT, found[-1]))
    return found


SECRETS = lineage(12)


@given(newest=st.integers(0, 11), shown=st.integers(0, 11), age=st.floats(-5, 100))
def test_every_token_of_the_lineage_is_judged_by_how_old_it_is(newest: int, shown: int, age: float) -> None:
    chain = Chain(refresh_hash(SECRETS[newest]), SALT, newest, age)

    verdict = judged(RefreshParts(SESSION, shown, SECRETS[shown]), chain, grace_seconds=10)

    expected: Verdict = "reused"
    if shown > newest:
        expected = "invented"
    elif shown == newest:
        expected = "newest"
    elif shown == newest - 1 and age <= 10:
        expected = "repeated"
    assert verdict == expected


@given(newest=st.integers(0, 11), claimed=st.integers(0, 999_999_999), secret=st.integers(0, 11))
def test_a_secret_under_another_generation_and_an_invented_secret_are_nothing(
    newest: int, claimed: int, secret: int
) -> None:
    chain = Chain(refresh_hash(SECRETS[newest]), SALT, newest, 0)

    if claimed != secret:
        assert judged(RefreshParts(SESSION, claimed, SECRETS[secret]), chain, grace_seconds=10) == "invented"
    assert judged(RefreshParts(SESSION, claimed, secrets.token_urlsafe(32)), chain, grace_seconds=10) == "invented"


def test_a_replay_is_recognised_as_far_back_as_is_looked_and_no_farther() -> None:
    whole = lineage(MOST_STEPS + 2)
    chain = Chain(refresh_hash(whole[-1]), SALT, MOST_STEPS + 1, 0)

    assert judged(RefreshParts(SESSION, 1, whole[1]), chain, grace_seconds=10) == "reused"
    assert judged(RefreshParts(SESSION, 0, whole[0]), chain, grace_seconds=10) == "invented"


@given(generation=st.integers(0, 999_999_999))
def test_text_and_parts_are_two_forms_of_one_token(generation: int) -> None:
    parts = RefreshParts(SESSION, generation, SECRETS[0])
    assert refresh_parts(refresh_text(parts)) == parts


@pytest.mark.parametrize("place", range(0, 90, 7))
def test_a_mistyped_token_is_none(place: int) -> None:
    text = refresh_text(RefreshParts(SESSION, 3, SECRETS[0]))
    changed = text[:place] + ("0" if text[place] != "0" else "1") + text[place + 1 :]
    assert refresh_parts(changed) is None


@given(st.text())
def test_what_is_kept_of_a_user_agent_can_be_shown(text: str) -> None:
    shown = shown_agent(text)
    assert len(shown) <= 200
    assert shown.isprintable()
