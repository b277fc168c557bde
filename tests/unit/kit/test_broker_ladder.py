"""The retry ladder's names and its rounding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.kit.broker.rabbitmq import ladder

LADDER = (5.0, 30.0, 120.0, 600.0, 3600.0)


@pytest.mark.parametrize(
    ("delay", "label"),
    [(0.2, "200ms"), (5, "5s"), (30, "30s"), (90, "90s"), (120, "2min"), (600, "10min"), (3600, "1h"), (0, "1ms")],
)
def test_a_delay_is_named_in_the_largest_unit_that_fits_it_whole(delay: float, label: str) -> None:
    assert ladder.label(delay) == label


def test_a_rung_is_named_after_the_retry_exchange_and_its_delay() -> None:
    assert ladder.rung_name("notifications.retry", 120.0) == "notifications.retry.2min"


@given(st.floats(min_value=0, max_value=3600))
def test_a_delay_takes_the_first_rung_that_is_long_enough(delay: float) -> None:
    rung = ladder.rung(LADDER, delay)

    assert rung >= delay
    assert not [shorter for shorter in LADDER if delay <= shorter < rung]


def test_a_delay_beyond_the_ladder_waits_on_its_longest_rung() -> None:
    assert ladder.rung(LADDER, 86_400) == 3600.0


def test_a_negative_delay_takes_the_shortest_rung() -> None:
    assert ladder.rung(LADDER, -1) == 5.0
