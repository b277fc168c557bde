"""When a notification is to be sent and until when it is worth sending: the bounds of both. Pure."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
from msgspec import Meta

from carillon.kit.errors import Invalid, invalid

LONGEST_AHEAD = timedelta(days=366)

_TIME = {"format": "date-time"}
SendAt = Annotated[
    datetime,
    Meta(
        description="Not sent before, at most a year ahead (RFC 3339; UTC without a zone). A time that is over is now",
        extra_json_schema=_TIME,
    ),
]
ExpiresAt = Annotated[
    datetime,
    Meta(
        description="Not sent from then on (RFC 3339; UTC without a zone); it then ends as `expired`",
        extra_json_schema=_TIME,
    ),
]


class Schedule(msgspec.Struct, frozen=True):
    """As it was asked for, in UTC. None: at once, and for ever."""

    send_at: datetime | None = None
    expires_at: datetime | None = None

    def waits_until(self, now: datetime) -> datetime | None:
        """None: it need not wait."""
        return self.send_at if self.send_at is not None and self.send_at > now else None


def schedule_of(send_at: datetime | None, expires_at: datetime | None) -> Schedule:
    """Raises Invalid for what can be right at no time."""
    schedule = Schedule(_in_utc("send_at", send_at), _in_utc("expires_at", expires_at))
    if schedule.send_at and schedule.expires_at and schedule.expires_at <= schedule.send_at:
        raise invalid("expires_at", "Expected a time after send_at: it would have expired before it is sent")
    return schedule


def untimely(schedule: Schedule, now: datetime) -> Invalid | None:
    """What is wrong with it as a new request; one that was accepted when it was in time is none."""
    if schedule.send_at is not None and schedule.send_at > now + LONGEST_AHEAD:
        return invalid("send_at", "Expected a time at most a year ahead")
    if schedule.expires_at is not None and schedule.expires_at <= now:
        return invalid("expires_at", "Expected a time in the future: this one is over")
    return None


def over(expires_at: datetime | None, now: datetime) -> bool:
    """Whether it is too late to send."""
    return expires_at is not None and now >= expires_at


def _in_utc(field: str, given: datetime | None) -> datetime | None:
    if given is None:
        return None
    try:
        return given.replace(tzinfo=given.tzinfo or UTC).astimezone(UTC)
    except OverflowError:
        raise invalid(field, "Expected a time in the years 1 to 9999 of UTC") from None
