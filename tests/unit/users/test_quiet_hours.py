"""Quiet hours: windows over midnight, clocks that jump and clocks that are turned back."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from carillon.contracts.quiet_hours import QuietHours, known_zones, quiet_seconds, quiet_until, zone_of

PARIS = "Europe/Paris"
MINUTE = timedelta(minutes=1)
times = st.integers(0, 1439).map(lambda minute: f"{minute // 60:02}:{minute % 60:02}")
zones = st.sampled_from([
    "UTC", PARIS, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/St_Johns", "Pacific/Apia",
    "America/Sao_Paulo", "Africa/Casablanca", "Antarctica/Troll",
])  # fmt: skip
moments = st.datetimes(datetime(2005, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - given a zone
windows = st.builds(QuietHours, times, times, zones).filter(lambda quiet: quiet.start != quiet.end)
NIGHT = QuietHours("22:00", "07:00", PARIS)


def paris(text: str, *, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(PARIS), fold=fold).astimezone(UTC)


@pytest.mark.parametrize(
    ("quiet", "at", "until"),
    [
        (NIGHT, paris("2030-01-15 21:59:59"), None),
        (NIGHT, paris("2030-01-15 22:00"), paris("2030-01-16 07:00")),
        (NIGHT, paris("2030-01-16 06:59:59"), paris("2030-01-16 07:00")),
        (NIGHT, paris("2030-01-16 07:00"), None),
        (QuietHours("13:00", "15:00", PARIS), paris("2030-01-15 14:00"), paris("2030-01-15 15:00")),
        (QuietHours("13:00", "15:00", PARIS), paris("2030-01-15 12:00"), None),
        (QuietHours("00:00", "23:59", PARIS), paris("2030-01-15 12:00"), paris("2030-01-15 23:59")),
        (QuietHours("00:00", "23:59", PARIS), paris("2030-01-15 23:59:30"), None),
    ],
)
def test_quiet_lasts_until_the_end_of_the_window(quiet: QuietHours, at: datetime, until: datetime | None) -> None:
    assert quiet_until(quiet, None, at) == until


@pytest.mark.parametrize(
    ("quiet", "at", "until"),
    [
        # At 02:00 on 31 March 2030 the clocks show 03:00.
        (QuietHours("22:00", "02:30", PARIS), paris("2030-03-31 01:30"), paris("2030-03-31 03:00")),
        (QuietHours("02:30", "06:00", PARIS), paris("2030-03-31 01:59"), None),
        (QuietHours("02:30", "06:00", PARIS), paris("2030-03-31 03:00"), paris("2030-03-31 06:00")),
        (QuietHours("02:10", "02:50", PARIS), paris("2030-03-31 03:00"), None),
        (NIGHT, paris("2030-03-31 01:00"), paris("2030-03-31 07:00")),
        # At 03:00 on 27 October 2030 the clocks show 02:00 once more.
        (QuietHours("22:00", "02:30", PARIS), paris("2030-10-27 01:00"), paris("2030-10-27 02:30", fold=1)),
        (QuietHours("22:00", "02:30", PARIS), paris("2030-10-27 02:45"), paris("2030-10-27 02:30", fold=1)),
        (QuietHours("22:00", "02:30", PARIS), paris("2030-10-27 02:30", fold=1), None),
        (QuietHours("02:30", "06:00", PARIS), paris("2030-10-27 02:10", fold=1), paris("2030-10-27 06:00")),
        (QuietHours("02:30", "06:00", PARIS), paris("2030-10-27 02:10"), None),
        # Samoa had no 30 December 2011.
        (
            QuietHours("22:00", "07:00", "Pacific/Apia"),
            datetime(2011, 12, 30, 9, 0, tzinfo=UTC),
            datetime(2011, 12, 30, 17, 0, tzinfo=UTC),
        ),
    ],
)
def test_in_the_hours_that_the_clocks_skip_or_repeat_nobody_is_disturbed(
    quiet: QuietHours, at: datetime, until: datetime | None
) -> None:
    assert quiet_until(quiet, None, at) == until


@given(windows, moments)
@example(QuietHours("02:30", "02:15", PARIS), paris("2030-10-26 12:00"))
@example(QuietHours("02:30", "02:15", PARIS), paris("2030-03-30 12:00"))
def test_the_end_lies_ahead_within_a_day_or_two_and_is_not_quiet_itself(quiet: QuietHours, at: datetime) -> None:
    until = quiet_until(quiet, None, at)

    if until is not None:
        assert at < until <= at + timedelta(hours=50)
        assert quiet_until(quiet, None, until) is None
        assert quiet_until(quiet, None, until - timedelta(seconds=1)) == until


@given(windows, moments)
def test_what_the_wall_calls_quiet_is_quiet(quiet: QuietHours, at: datetime) -> None:
    wall = f"{at.astimezone(ZoneInfo(quiet.timezone or 'UTC')):%H:%M}"
    inside = quiet.start <= wall < quiet.end if quiet.start < quiet.end else not quiet.end <= wall < quiet.start

    if inside:
        assert quiet_until(quiet, None, at) is not None
    elif quiet_until(quiet, None, at) is not None:
        around = {
            (at + timedelta(hours=h)).astimezone(ZoneInfo(quiet.timezone or "UTC")).utcoffset() for h in range(-30, 30)
        }
        assert len(around) > 1, "only where the clocks are turned is more quiet than the wall says"


@given(windows, moments, st.integers(0, 30 * 60))
def test_the_quiet_between_two_moments_is_the_sum_of_its_minutes(
    quiet: QuietHours, since: datetime, minutes: int
) -> None:
    since = since.replace(second=0, microsecond=0)
    counted = sum(quiet_until(quiet, None, since + n * MINUTE) is not None for n in range(minutes))

    assert quiet_seconds(quiet, None, since, since + minutes * MINUTE) == counted * 60


def test_without_a_timezone_it_is_the_users_own_else_utc() -> None:
    quiet = QuietHours("22:00", "07:00")
    at = datetime(2030, 1, 15, 23, 0, tzinfo=UTC)

    assert quiet_until(quiet, None, at) == datetime(2030, 1, 16, 7, 0, tzinfo=UTC)
    assert quiet_until(quiet, PARIS, at) == datetime(2030, 1, 16, 6, 0, tzinfo=UTC)
    assert quiet_until(quiet, "Asia/Tokyo", at) is None
    assert quiet_until(QuietHours("22:00", "07:00", PARIS), "Asia/Tokyo", at) is not None


@pytest.mark.parametrize(
    "name", ["", "nonsense", "../../etc/passwd", "localtime", "posixrules", "right/UTC", "x" * 9999]
)
def test_what_is_no_zone_is_utc(name: str) -> None:
    assert name not in known_zones()
    assert zone_of(name).key == "UTC"


def test_every_zone_that_is_taken_is_there() -> None:
    assert known_zones() <= available_timezones()
    assert {zone_of(name).key for name in list(known_zones())[::20]} <= known_zones()
