"""Quiet hours: a daily window in which nobody wants to be disturbed, and when it ends. Pure."""

import functools
import importlib.resources
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

WallTime: TypeAlias = Annotated[
    str,
    Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9](?!\n)$", description="HH:MM, 24 hours", examples=["22:00"]),
]
TimezoneName: TypeAlias = Annotated[
    str,
    Meta(
        max_length=64,
        pattern=r"^[A-Za-z][A-Za-z0-9_+\-]*(/[A-Za-z0-9_+\-]+){0,2}(?!\n)$",
        description="A name of the IANA time zone database",
        examples=["Europe/Paris"],
    ),
]
_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)


class QuietHours(msgspec.Struct, frozen=True):
    """From `start` up to, not including, `end`, by the clock on the wall; over midnight where `end` is the earlier.

    `timezone` None: the user's own, else UTC.
    """

    start: WallTime
    end: WallTime
    timezone: TimezoneName | None = None


@functools.cache
def known_zones() -> frozenset[str]:
    """Every name of the IANA database: the same on every machine, whatever files its system has."""
    return frozenset(importlib.resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


def zone_of(name: str | None) -> ZoneInfo:
    """The zone of that name; UTC for None and for what is no zone."""
    if name is None or name not in known_zones():
        return ZoneInfo("UTC")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a damaged file of the system is no reason to disturb nobody
        return ZoneInfo("UTC")


def quiet_until(quiet: QuietHours, timezone: str | None, at: datetime) -> datetime | None:
    """When the quiet in which `at` lies ends, in UTC; None where `at` is not quiet. `timezone`: where `quiet` has none.

    A time that the clocks jump over counts as the moment of the jump. One that comes twice begins the quiet the first
    time and ends it the second: in doubt nobody is disturbed.
    """
    zone = zone_of(quiet.timezone or timezone)
    today = at.astimezone(zone).date()
    for begin, end in (_window(quiet, zone, today - _DAY), _window(quiet, zone, today)):
        if begin <= at < end:
            return quiet_until(quiet, timezone, end) or end  # windows meet where the clocks are turned
    return None


def quiet_seconds(quiet: QuietHours, timezone: str | None, since: datetime, to: datetime) -> float:
    """How much of the time between was quiet."""
    zone = zone_of(quiet.timezone or timezone)
    total, reached = timedelta(), since.astimezone(UTC)
    day = since.astimezone(zone).date() - _DAY
    while day <= to.astimezone(zone).date():
        begin, end = _window(quiet, zone, day)
        begin, end = max(begin, reached), min(end, to)
        if end > begin:
            total, reached = total + (end - begin), end
        day += _DAY
    return total.total_seconds()


def _window(quiet: QuietHours, zone: ZoneInfo, day: date) -> tuple[datetime, datetime]:
    """The window that begins on `day`."""
    start, end = time.fromisoformat(quiet.start), time.fromisoformat(quiet.end)
    last = day + _DAY if end <= start else day
    return _instant(datetime.combine(day, start), zone, fold=0), _instant(datetime.combine(last, end), zone, fold=1)


def _instant(wall: datetime, zone: ZoneInfo, *, fold: int) -> datetime:
    """When the clock on the wall shows `wall`; of two times `fold` picks; where it never does, the jump over it."""
    found = wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
    if _on_the_wall(found, zone) == wall:
        return found
    before, after = sorted(wall.replace(tzinfo=zone, fold=side).astimezone(UTC) for side in (0, 1))
    while after - before > _SECOND:
        middle = before + (after - before) // 2
        before, after = (before, middle) if _on_the_wall(middle, zone) >= wall else (middle, after)
    return after.replace(microsecond=0)


def _on_the_wall(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)
