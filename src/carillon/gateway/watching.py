"""Pure decisions about notifications of which nothing is heard: wait on, queue anew, or give up, and why."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

import msgspec

from carillon.contracts.channels import CHANNELS, FAILED_QUEUE, LANES, STATUS_QUEUE, Channel, lane_of, queue_of
from carillon.contracts.messages import DeliveryReported, Step
from carillon.contracts.statuses import Status
from carillon.kit.broker.port import QueueDepth

QUEUES = (*(queue_of(channel, lane) for channel in CHANNELS for lane in LANES), STATUS_QUEUE, FAILED_QUEUE)
_NEVER = datetime(2000, 1, 1, tzinfo=UTC)
_MOST_DOUBLINGS = 20
_LONGEST_WAIT = 90 * 86_400.0

Reason = Literal["no_news"]
NO_NEWS: Reason = "no_news"


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """A notification that had not ended when it was last looked at. All times are the database's.

    `quiet_since`: when it was first seen outside the outbox; None: it was in there. `outbox_at`: it is in there now,
    and due then. `requeued`: how often the reconciler has queued it anew.
    """

    notification_id: UUID
    status: Status | None
    channel: Channel
    priority: int
    generation: int
    created_at: datetime
    send_at: datetime | None
    expires_at: datetime | None
    next_expected_at: datetime | None
    outbox_at: datetime | None
    quiet_since: datetime | None
    requeued: int
    has_message: bool

    @property
    def queue(self) -> str:
        return queue_of(self.channel, lane_of(self.priority))


class Bounds(msgspec.Struct, frozen=True):
    """Seconds: the silence after which it is looked at, and the age at which silence has failed.

    `second`: the age at which keys are read again, for what a clock that is slow had hidden from the first look.
    """

    overdue: float
    give_up: float
    second: float = 86_400.0


class Wait(msgspec.Struct, frozen=True):
    """A worker's word that there will be no news for so many seconds: by its own clock, so no moment of it."""

    notification_id: UUID
    generation: int
    seconds: float


def waits_of(reports: Iterable[DeliveryReported]) -> list[Wait]:
    """The longest of each notification and generation.

    A wait says nothing new of a notification that was tried before, and would change nothing by its rank.
    """
    longest: dict[tuple[UUID, int], float] = {}
    for report in reports:
        if report.next_expected_at is not None and report.steps:
            seconds = min(max((report.next_expected_at - report.steps[-1].at).total_seconds(), 0.0), _LONGEST_WAIT)
            key = (report.notification_id, report.generation)
            longest[key] = max(longest.get(key, 0.0), seconds)
    return [Wait(*key, seconds) for key, seconds in longest.items()]


class Ended(msgspec.Struct, frozen=True):
    """There is nothing to wait for any more."""


class WaitsOn(msgspec.Struct, frozen=True):
    """Nothing is wrong yet, or nobody can tell: look again then."""

    look_at: datetime
    quiet_since: datetime | None


class QueuedAnew(msgspec.Struct, frozen=True):
    """It is lost on the way: send the message again under the next generation."""

    look_at: datetime
    since: datetime


class GivenUp(msgspec.Struct, frozen=True):
    """It is lost, and too late."""

    status: Literal["expired", "failed"]
    since: datetime


Verdict = Ended | WaitsOn | QueuedAnew | GivenUp


def judge(one: Watched, now: datetime, passed: Mapping[str, datetime], bounds: Bounds) -> Verdict:
    """`passed`: of each queue, until when everything that was put there has left it, as `passing` knows it."""
    if one.status != "pending":
        return Ended()
    patience = timedelta(seconds=min(bounds.overdue * 2.0 ** min(one.requeued, _MOST_DOUBLINGS), bounds.give_up))
    if one.outbox_at is not None:
        return WaitsOn(max(now, one.outbox_at) + patience, None)
    if one.quiet_since is None:
        return WaitsOn(max(now, one.next_expected_at or now) + patience, now)
    since = max(one.quiet_since, one.next_expected_at or one.quiet_since)
    if now < since + patience:
        return WaitsOn(since + patience, one.quiet_since)
    if not _would_be_known(one, since + patience / 2, passed):
        return WaitsOn(now + timedelta(seconds=bounds.overdue), one.quiet_since)
    return _lost(one, now, since, bounds) or (
        QueuedAnew(now + patience, since) if one.has_message else WaitsOn(now + patience, one.quiet_since)
    )


def _lost(one: Watched, now: datetime, since: datetime, bounds: Bounds) -> GivenUp | None:
    """Whether it is too late to send it at all."""
    if one.expires_at is not None and one.expires_at <= now:
        return GivenUp("expired", since)
    age = now - max(one.created_at, one.send_at or one.created_at)
    return GivenUp("failed", since) if age >= timedelta(seconds=bounds.give_up) else None


def _would_be_known(one: Watched, by: datetime, passed: Mapping[str, datetime]) -> bool:
    """Its lane, the reports and the dead letters have all been emptied of what was in them by then."""
    return all(passed.get(queue, _NEVER) >= by for queue in (one.queue, STATUS_QUEUE, FAILED_QUEUE))


def passing(
    before: Mapping[str, datetime],
    depths: Mapping[str, QueueDepth],
    asked_at: datetime,
    arrived: Mapping[str, datetime],
) -> Mapping[str, datetime]:
    """Until when everything that was put into each queue has left it.

    An empty queue holds nothing; the oldest that waits tells of one that is not. Where the broker does not know its
    age, what was known before stands, or what has `arrived` of it since.
    """
    known = dict(before)
    for queue in QUEUES:
        depth = depths.get(queue)
        if depth is None:
            continue
        if not depth.ready:
            known[queue] = asked_at
        elif depth.oldest_age_seconds is not None:
            known[queue] = asked_at - timedelta(seconds=depth.oldest_age_seconds)
        elif queue in arrived:
            known[queue] = max(arrived[queue], known.get(queue, _NEVER))
    return known


def requeued(one: Watched, verdict: QueuedAnew, now: datetime) -> Step:
    """The step of one that is queued anew."""
    generation = one.generation + 1
    detail = {"quiet_since": verdict.since, "times": one.requeued + 1}
    return Step(key=f"{generation}.0.requeued", kind="requeued", at=now, reason=NO_NEWS, detail=detail)


def given_up(one: Watched, verdict: GivenUp, now: datetime) -> Step:
    """The step of one that has ended by this."""
    detail = {"quiet_since": verdict.since, "times": one.requeued}
    key = f"{one.generation}.0.{verdict.status}.{NO_NEWS}"
    return Step(key=key, kind=verdict.status, at=now, reason=NO_NEWS, detail=detail)
