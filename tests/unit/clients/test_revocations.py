"""Revocations heard of: what they make void, and how long and how many are kept."""

import pytest

from carillon.clients.revocations import Revocations
from carillon.contracts.users import LONGEST_ACCESS_SECONDS, UserChanged
from carillon.kit.ids import uuid7

ADA, SESSION = uuid7(), uuid7()


def raised(version: int) -> UserChanged:
    return UserChanged(user_id=ADA, version=1, token_version=version, tokens_changed=True)


def test_tokens_of_a_lower_version_and_of_ended_sessions_are_void_and_no_others() -> None:
    revocations = Revocations()
    revocations.heard(raised(3))
    revocations.heard(UserChanged(user_id=ADA, version=1, ended_sessions=[SESSION]))

    assert revocations.void(ADA, uuid7(), 2)
    assert revocations.void(ADA, SESSION, 3)
    assert not revocations.void(ADA, uuid7(), 3)
    assert not revocations.void(uuid7(), uuid7(), 1)


@pytest.mark.parametrize("order", [(2, 5), (5, 2)])
def test_the_highest_version_counts_in_whatever_order_events_come(order: tuple[int, int]) -> None:
    revocations = Revocations()
    for version in order:
        revocations.heard(raised(version))

    assert revocations.void(ADA, uuid7(), 4)


def test_a_change_that_revokes_nothing_is_not_kept() -> None:
    revocations = Revocations()
    revocations.heard(UserChanged(user_id=ADA, version=7))

    assert len(revocations) == 0


def test_a_revocation_is_kept_as_long_as_a_token_can_live_and_no_longer() -> None:
    now = 0.0
    revocations = Revocations(clock=lambda: now)
    revocations.heard(raised(2))
    revocations.heard(UserChanged(user_id=ADA, version=1, ended_sessions=[SESSION]))

    now = LONGEST_ACCESS_SECONDS
    revocations.heard(UserChanged(user_id=uuid7(), version=1, tokens_changed=True))
    assert revocations.void(ADA, SESSION, 1)

    now += 1
    revocations.heard(UserChanged(user_id=uuid7(), version=1, tokens_changed=True))
    assert len(revocations) == 0


def test_no_more_than_its_capacity_is_kept_the_oldest_leaves() -> None:
    revocations = Revocations(capacity=3)
    sessions = [uuid7() for _ in range(10)]
    for session_id in sessions:
        revocations.heard(UserChanged(user_id=ADA, version=1, ended_sessions=[session_id]))

    assert [revocations.void(ADA, session_id, 1) for session_id in sessions] == [False] * 7 + [True] * 3
