"""UUIDv7 keys: valid, ordered by time, and reversible to their time."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from carillon.kit.ids import born_at, first_key_of, uuid7


@given(st.integers(min_value=0, max_value=(1 << 48) - 1))
def test_a_key_is_a_version_7_uuid_that_carries_its_time(milliseconds: int) -> None:
    key = uuid7(milliseconds)
    assert (key.version, key.variant) == (7, "specified in RFC 4122")
    assert key.int >> 80 == milliseconds


@given(st.integers(0, 1 << 47), st.integers(1, 1 << 40))
def test_a_later_key_sorts_after_an_earlier_one(milliseconds: int, later: int) -> None:
    assert uuid7(milliseconds) < uuid7(milliseconds + later)


def test_the_first_key_of_a_moment_bounds_all_keys_from_then_on() -> None:
    moment = datetime(2026, 12, 1, tzinfo=UTC)
    milliseconds = int(moment.timestamp() * 1000)
    assert uuid7(milliseconds - 1) < first_key_of(moment) <= uuid7(milliseconds)
    assert born_at(uuid7(milliseconds)) == moment


def test_keys_made_in_one_millisecond_differ() -> None:
    assert len({uuid7(1) for _ in range(1000)}) == 1000
