"""When to send and until when: the bounds of both, in whatever zone they are told."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.contracts.schedule import LONGEST_AHEAD, Schedule, over, schedule_of, untimely
from carillon.kit.errors import Invalid

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(timezones=st.none() | ZONES)


def problem_of(send_at: datetime | None, expires_at: datetime | None) -> str | None:
    try:
        found = untimely(schedule_of(send_at, expires_at), NOW)
    except Invalid as error:
        found = error
    return None if found is None else found.details[0].field


@pytest.mark.parametrize(
    ("send_at", "expires_at", "field"),
    [
        (None, None, None),
        (NOW - timedelta(days=10_000), None, None),
        (NOW + LONGEST_AHEAD, None, None),
        (NOW + LONGEST_AHEAD + SECOND, None, "send_at"),
        (None, NOW + SECOND, None),
        (None, NOW, "expires_at"),
        (NOW + SECOND, NOW + SECOND, "expires_at"),
        (NOW + SECOND, NOW + 2 * SECOND, None),
        (NOW - 2 * SECOND, NOW - SECOND, "expires_at"),
        (NOW - SECOND, NOW + timedelta(days=100_000), None),
        (datetime.max.replace(tzinfo=timezone(-SECOND)), None, "send_at"),
        (None, datetime.min.replace(tzinfo=timezone(SECOND)), "expires_at"),
    ],
)
def test_the_bounds_name_the_field(send_at: datetime | None, expires_at: datetime | None, field: str | None) -> None:
    assert problem_of(send_at, expires_at) == field


@given(MOMENTS | st.none(), MOMENTS | st.none())
def test_any_two_times_are_refused_by_a_field_or_kept_in_utc_and_in_order(
    send_at: datetime | None, expires_at: datetime | None
) -> None:
    field = problem_of(send_at, expires_at)

    assert field in {None, "send_at", "expires_at"}
    if field is None:
        kept = schedule_of(send_at, expires_at)
        assert {moment.tzinfo for moment in (kept.send_at, kept.expires_at) if moment} <= {UTC}
        assert kept.expires_at is None or kept.expires_at > max(kept.send_at or NOW, NOW)
        assert (kept.waits_until(NOW) is None) == (kept.send_at is None or kept.send_at <= NOW)


def test_a_time_without_a_zone_is_utc_and_one_instant_is_one_schedule() -> None:
    there = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))

    assert schedule_of(NOW.replace(tzinfo=None), None) == schedule_of(there, None) == Schedule(NOW)


def test_the_very_moment_of_expiry_is_too_late() -> None:
    assert not over(None, NOW)
    assert not over(NOW, NOW - SECOND)
    assert over(NOW, NOW)
