"""The breaker: opens on failures in a row, rests, and lets one call try."""

import pytest

from carillon.kit.breaker import Breaker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(failures=3, rest_seconds=5, longest_rest=15, clock=clock)


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        breaker.failed()


def test_it_opens_on_failures_in_a_row_only(breaker: Breaker) -> None:
    fail(breaker, 2)
    breaker.succeeded()
    fail(breaker, 2)
    assert (breaker.state, breaker.admit()) == ("closed", 0.0)

    breaker.failed()
    assert (breaker.state, breaker.admit()) == ("open", 5.0)


def test_after_its_rest_one_call_tries_while_others_wait(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now = 5.0

    assert breaker.state == "half_open"
    assert breaker.admit() == 0.0
    assert breaker.admit() > 0.0


def test_a_probe_that_succeeds_closes_it(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now = 5.0
    breaker.admit()
    breaker.succeeded()

    assert [breaker.admit(), breaker.admit()] == [0.0, 0.0]
    fail(breaker, 2)
    assert breaker.state == "closed"


def test_a_probe_that_fails_doubles_the_rest_up_to_the_longest(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    rests = []
    for _ in range(3):
        clock.now += breaker.admit()
        assert breaker.admit() == 0.0
        breaker.failed()
        rests.append(breaker.admit())

    assert rests == [10.0, 15.0, 15.0]


def test_a_failure_that_began_before_it_opened_does_not_lengthen_the_rest(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now = 4.0
    breaker.failed()

    assert breaker.admit() == 1.0


def test_a_probe_that_was_never_made_leaves_its_place_to_the_next(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now = 5.0
    breaker.admit()
    breaker.abandoned()

    assert breaker.admit() == 0.0


def test_a_probe_that_is_never_heard_of_again_does_not_block_for_ever(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now = 5.0
    breaker.admit()
    clock.now = 70.0

    assert breaker.admit() == 0.0


def test_it_opens_when_too_many_of_the_last_calls_failed_though_never_in_a_row(clock: Clock) -> None:
    breaker = Breaker(failures=5, ratio=0.5, calls=10, clock=clock)
    for _ in range(4):
        breaker.failed()
        breaker.succeeded()
    breaker.failed()
    assert breaker.admit() == 0.0, "nine calls are too few to judge by"

    breaker.failed()
    assert breaker.admit() == 5.0


def test_a_share_below_the_ratio_never_opens_it(clock: Clock) -> None:
    breaker = Breaker(failures=5, ratio=0.5, calls=10, clock=clock)
    for number in range(1000):
        if number % 5 < 2:
            breaker.failed()
        else:
            breaker.succeeded()
        assert breaker.state == "closed"


def test_after_a_probe_that_succeeds_what_failed_before_no_longer_counts(clock: Clock) -> None:
    breaker = Breaker(failures=5, ratio=0.5, calls=4, clock=clock)
    for outcome in (breaker.succeeded, breaker.failed, breaker.succeeded, breaker.failed):
        outcome()
    assert breaker.state == "open"

    clock.now = 5.0
    breaker.admit()
    breaker.succeeded()
    fail(breaker, 3)
    assert breaker.admit() == 0.0
    breaker.failed()
    assert breaker.admit() == 5.0


def test_it_says_how_long_it_rests_without_letting_anybody_in(breaker: Breaker, clock: Clock) -> None:
    assert breaker.rests() == 0.0
    fail(breaker, 3)
    assert breaker.rests() == 5.0
    clock.now = 6.0
    assert (breaker.rests(), breaker.rests()) == (0.0, 0.0)
    assert breaker.admit() == 0.0
