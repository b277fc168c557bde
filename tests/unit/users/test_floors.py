"""Floors: what is known to be past, for long enough and in bounded memory."""

from carillon.kit.ids import uuid7
from carillon.users.domain.floors import KEPT_SECONDS, UNKNOWN_SECONDS, Floors

ADA, BOB = uuid7(), uuid7()


def test_below_an_announced_version_nothing_is_allowed_and_of_others_everything() -> None:
    floors = Floors()
    floors.lift(ADA, 5, now=0)
    floors.lift(ADA, 4, now=1)

    assert [floors.allows(ADA, version, now=1) for version in (4, 5, 6)] == [False, True, True]
    assert floors.allows(BOB, 1, now=1)


def test_after_a_change_to_an_unknown_version_nothing_is_allowed_for_a_while_whatever_is_announced() -> None:
    floors = Floors()
    floors.lift(ADA, None, now=0)
    floors.lift(ADA, 5, now=0.1)

    assert not floors.allows(ADA, 5, now=UNKNOWN_SECONDS - 0.1)
    assert floors.allows(ADA, 5, now=UNKNOWN_SECONDS)
    assert not floors.allows(ADA, 4, now=UNKNOWN_SECONDS)


def test_floors_that_no_copy_can_be_older_than_are_dropped() -> None:
    floors = Floors()
    floors.lift(ADA, 5, now=0)
    floors.lift(BOB, 5, now=KEPT_SECONDS)

    assert len(floors) == 1


def test_too_many_floors_are_forgotten_together_and_that_is_said() -> None:
    floors = Floors(capacity=2)

    assert [floors.lift(uuid7(), 1, now=0) for _ in range(3)] == [True, True, False]
    assert len(floors) == 0
