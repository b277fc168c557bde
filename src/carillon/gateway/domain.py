"""Pure decisions of the gateway: what a valid request is, which report counts, how a timeline reads."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from carillon.contracts.channels import DEFAULT_PRIORITY, Channel, lane_of, queue_of
from carillon.contracts.messages import DeliveryReported, DeliveryRequested, Step, StepKind
from carillon.contracts.notifications import Notification, NotificationRequested, StatusReported, TimelineStep
from carillon.contracts.rendering import is_http_url
from carillon.contracts.schedule import Schedule, schedule_of, untimely
from carillon.contracts.statuses import (
    RANK_ACCEPTED,
    RANK_BOUNCED,
    RANK_BOUNCED_EARLY,
    RANK_CONFIRMED,
    RANK_DELIVERED,
    RANK_FAILED,
    Stage,
    Status,
)
from carillon.kit.errors import Invalid, invalid
from carillon.kit.ids import born_at, first_key_of
from carillon.kit.redaction import without_addresses

DEEPEST = 16
MOST_BYTES = 128 * 1024
_ORDER: tuple[StepKind, ...] = (
    "accepted", "scheduled", "queued", "looked_up", "rendered", "suppressed", "attempted", "attempt_failed", "waiting",
    "reported", "delivered", "bounced", "failed", "cancelled", "expired", "replayed",
    "requeued",
)  # fmt: skip
_PLACE = {kind: place for place, kind in enumerate(_ORDER)}

_NUL = rb"\u0000"
_AT_ONCE = Schedule()

_encode = msgspec.json.Encoder().encode
_canonical = msgspec.json.Encoder(order="deterministic").encode


class Acceptance(msgspec.Struct, frozen=True, kw_only=True):
    """A validated request on its way into the tables; `message` is the encoded DeliveryRequested.

    `doubt`: what is wrong with it, unless it was accepted before. `send_at` only where that is to come.
    """

    notification_id: UUID
    caller_id: UUID
    request_id: str
    channel: Channel
    user_id: UUID
    template_code: str
    priority: int
    category: str | None
    metadata: str | None
    body_hash: bytes
    correlation_id: str
    queue: str
    message: bytes
    send_at: datetime | None = None
    expires_at: datetime | None = None
    doubt: Invalid | None = None

    @property
    def stage(self) -> Stage:
        """Once it is accepted."""
        return "accepted" if self.send_at is None else "scheduled"


class Standing(msgspec.Struct, frozen=True):
    """What a caller's request_id stands for now; `fresh` where this very request made it so."""

    notification_id: UUID
    status: Status
    stage: Stage | None
    body_hash: bytes
    fresh: bool


class Known(msgspec.Struct, frozen=True):
    """A notification with the position that a report has to exceed."""

    notification: Notification
    generation: int
    rank: int


class Due(msgspec.Struct, frozen=True):
    """One row of the outbox, leased."""

    notification_id: UUID
    generation: int
    queue: str
    correlation_id: str
    body: bytes
    lease_until: datetime
    caller_id: UUID = UUID(int=0)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The filters of a list. `caller_id` None: everybody's."""

    caller_id: UUID | None
    user_id: UUID | None = None
    status: Status | None = None
    channel: Channel | None = None
    template_code: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    broadcast_id: UUID | None = None


class Month(msgspec.Struct, frozen=True):
    """One partition: keys from `first` up to, not including, `end`."""

    name: str
    first: UUID
    end: UUID


def acceptance_of(
    asked: NotificationRequested,
    *,
    notification_id: UUID,
    caller_id: UUID,
    correlation_id: str,
    traceparent: str | None = None,
) -> Acceptance:
    """Raises Invalid where a field breaks a rule. The time of acceptance is the id's own."""
    now = born_at(notification_id)
    variables = checked_variables(asked.variables)
    metadata = None if asked.metadata is None else _checked(asked.metadata, "metadata").decode()
    priority = asked.effective_priority
    schedule = schedule_of(asked.send_at, asked.expires_at)
    send_at = schedule.waits_until(now)
    return Acceptance(
        notification_id=notification_id,
        caller_id=caller_id,
        request_id=asked.request_id,
        channel=asked.notification_type,
        user_id=asked.user_id,
        template_code=asked.template_code,
        priority=priority,
        category=asked.category,
        metadata=metadata,
        body_hash=body_hash(asked, variables, schedule),
        correlation_id=correlation_id,
        queue=queue_of(asked.notification_type, lane_of(priority)),
        message=_encode(
            DeliveryRequested(
                notification_id=notification_id,
                generation=0,
                channel=asked.notification_type,
                user_id=asked.user_id,
                template_code=asked.template_code,
                variables=variables,
                priority=priority,
                category=asked.category,
                metadata=asked.metadata,
                accepted_at=now,
                correlation_id=correlation_id,
                send_at=send_at,
                expires_at=schedule.expires_at,
                traceparent=traceparent or msgspec.UNSET,
            )
        ),
        send_at=send_at,
        expires_at=schedule.expires_at,
        doubt=untimely(schedule, now),
    )


def body_hash(asked: NotificationRequested, variables: dict[str, Any], schedule: Schedule) -> bytes:
    """Equal for bodies that mean the same: order of keys, left-out defaults and the zone of a time do not count."""
    meant: tuple[Any, ...] = (
        asked.notification_type,
        asked.user_id,
        asked.template_code,
        variables,
        asked.priority or DEFAULT_PRIORITY,
        asked.metadata,
        asked.category,
    )
    if schedule != _AT_ONCE:  # without one the hash is that of releases that knew of none
        meant += (schedule.send_at, schedule.expires_at)
    return hashlib.sha256(_canonical(meant)).digest()


def checked_variables(variables: dict[str, Any]) -> dict[str, Any]:
    """The variables with `meta` filled in. Raises Invalid naming the field."""
    if not isinstance(variables.get("name"), str):
        raise invalid("variables.name", "Expected a text; it is required")
    link = variables.get("link")
    if not isinstance(link, str) or not is_http_url(link):
        raise invalid("variables.link", "Expected an http or https address with a host; it is required")
    if (meta := variables.get("meta")) is not None and not isinstance(meta, dict):
        raise invalid("variables.meta", "Expected an object or null")
    _checked(variables, "variables")
    return variables if "meta" in variables else {**variables, "meta": None}


def _checked(value: dict[str, Any], field: str) -> bytes:
    """The value as JSON. Refused: NUL characters, which PostgreSQL cannot keep, and what is too deep or too large."""
    encoded = _encoded(value, field)
    if encoded.count(b"{") + encoded.count(b"[") <= DEEPEST and _NUL not in encoded:
        return encoded  # it cannot be deeper than it has brackets; looking at each value costs five times as much
    inside: list[tuple[Any, int]] = [(value, 1)]
    while inside:
        item, depth = inside.pop()
        if isinstance(item, str):
            _without_nul(item, field)
        elif isinstance(item, dict | list):
            if depth > DEEPEST:
                raise invalid(field, f"Nested deeper than {DEEPEST} levels")
            if isinstance(item, dict):
                _without_nul("".join(item), field)
            inside.extend((inner, depth + 1) for inner in (item.values() if isinstance(item, dict) else item))
    return encoded


def _encoded(value: dict[str, Any], field: str) -> bytes:
    try:
        encoded = _encode(value)
    except RecursionError:
        raise invalid(field, f"Nested deeper than {DEEPEST} levels") from None
    if len(encoded) > MOST_BYTES:
        raise invalid(field, f"Has {len(encoded)} bytes as JSON; at most {MOST_BYTES} are taken")
    return encoded


def _without_nul(text: str, field: str) -> None:
    if "\0" in text:
        raise invalid(field, "Holds a NUL character; leave it out")


def supersedes(report: DeliveryReported, generation: int, rank: int) -> bool:
    """Whether a report changes a notification that stands at (generation, rank)."""
    return (report.generation, report.rank) > (generation, rank)


def newest(reports: Iterable[DeliveryReported]) -> dict[UUID, DeliveryReported]:
    """Of several reports on one notification only the greatest counts, whatever the order they came in."""
    greatest: dict[UUID, DeliveryReported] = {}
    for report in reports:
        present = greatest.get(report.notification_id)
        if present is None or supersedes(report, present.generation, present.rank):
            greatest[report.notification_id] = report
    return greatest


def report_of(said: StatusReported, known: Known, now: datetime) -> DeliveryReported:
    """A provider's word as a report: "failed" after "delivered" is a bounce, "pending" adds to the timeline only."""
    status: Status = said.status
    error = said.error and without_addresses(said.error)
    rank, kind = _weight(said, known)
    at = _between(known.notification.created_at, said.timestamp, now)
    told = hashlib.sha256(_encode((said.status, said.timestamp, error))).hexdigest()[:12]
    step = Step(
        key=f"{known.generation}.0.{kind}.{told}", kind=kind, at=at, reason=error, detail={"source": "call_back"}
    )
    return DeliveryReported(
        notification_id=known.notification.notification_id,
        generation=known.generation,
        rank=rank,
        status=status,
        reason=kind if status == "failed" else None,
        error=error,
        attempts=known.notification.attempts,
        steps=[step],
    )


def _weight(said: StatusReported, known: Known) -> tuple[int, StepKind]:
    """What `failed` says while nothing has ended stands against a `delivered` of ours that is still under way."""
    early = known.rank == RANK_BOUNCED_EARLY
    if said.status == "delivered":
        return RANK_CONFIRMED if early else RANK_DELIVERED, "delivered"
    if said.status == "pending":
        return RANK_ACCEPTED, "reported"
    if early or known.rank < RANK_FAILED:
        return RANK_BOUNCED_EARLY, "failed"
    return (RANK_BOUNCED, "bounced") if known.rank >= RANK_DELIVERED else (RANK_FAILED, "failed")


def _between(earliest: datetime, told: datetime | None, now: datetime) -> datetime:
    """A provider's clock is believed between acceptance and now; a time without a zone is UTC."""
    if told is None:
        return now
    aware = told.replace(tzinfo=UTC) if told.tzinfo is None else told
    return earliest if aware < earliest else min(aware, now)


def timeline(notification: Notification, steps: Iterable[Step]) -> list[TimelineStep]:
    """Every step by time, then by its place in a notification's life; the acceptance first, whatever clocks say."""
    accepted = TimelineStep(kind="accepted", at=notification.created_at)
    until = notification.send_at
    scheduled = TimelineStep(kind="scheduled", at=notification.created_at, detail={"until": until}) if until else None
    ordered = sorted(steps, key=lambda step: (step.at, step.attempt or 0, _PLACE[step.kind], step.key))
    return [accepted, *([scheduled] if scheduled else ()), *(_shown(step) for step in ordered)]


def _shown(step: Step) -> TimelineStep:
    return TimelineStep(
        kind=step.kind,
        at=step.at,
        reason=step.reason,
        attempt=step.attempt,
        provider=step.provider,
        detail=step.detail,
    )


def queued(due: Due, at: datetime) -> Step:
    """The step that the relay adds once the broker has confirmed."""
    return Step(key=f"{due.generation}.0.queued", kind="queued", at=at, detail={"queue": due.queue})


def cancelled(at: datetime, *, by: UUID | None = None, reason: str | None = None) -> Step:
    """The step of a notification that is taken back before any relay has had it."""
    return Step(
        key="0.0.cancelled", kind="cancelled", at=at, reason=reason, detail=None if by is None else {"by": str(by)}
    )


def key_from(moment: datetime) -> UUID:
    """The smallest key born at or after `moment`; one out of range counts as the nearest there is."""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return first_key_of(max(aware, _EPOCH))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def months(now: datetime, ahead: int) -> Iterator[Month]:
    """The month of `now` and those that follow it."""
    start = datetime(now.year, now.month, 1, tzinfo=UTC)
    for _ in range(ahead + 1):
        end = datetime(start.year + start.month // 12, start.month % 12 + 1, 1, tzinfo=UTC)
        yield Month(f"{start:%Y_%m}", first_key_of(start), first_key_of(end))
        start = end


def month_named(name: str) -> Month:
    """The month of a partition, of a name as `months` gives them."""
    return next(months(datetime.strptime(name, "%Y_%m").replace(tzinfo=UTC), 0))


def cut(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Pieces of at most `size`."""
    return (items[start : start + size] for start in range(0, len(items), size))


def refused(error: str) -> Invalid:
    """What a caller is told whose row alone the database takes for bad data."""
    return Invalid(f"The request holds something that cannot be stored: {error}.")
