"""Dead letters, pure: how a message that died reads, what it says of its notification, and why one stays dead."""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

import msgspec

from carillon.contracts.channels import CHANNELS, ERASURES_QUEUE, STATUS_QUEUE, Channel
from carillon.contracts.dead_letters import (
    ATTEMPTS_HEADER,
    CAUSE_HEADER,
    FIRST_ERROR_HEADER,
    LAST_ERROR_HEADER,
    OUTCOME_UNKNOWN,
    PROVIDER_HEADER,
    REPORTED_HEADER,
    UNDECODABLE,
)
from carillon.contracts.messages import DeliveryReported, DeliveryRequested, Step
from carillon.contracts.statuses import RANK_FAILED, Status
from carillon.kit.broker import notes
from carillon.kit.broker.port import DEAD_AT_HEADER, PUBLISHED_AT_HEADER, REASON_HEADER, SOURCE_QUEUE_HEADER, Delivery
from carillon.kit.ids import uuid7
from carillon.kit.redaction import without_addresses

_CAUSE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TEMPLATE_CODE = re.compile(r"[a-z0-9][a-z0-9_.\-]{0,99}")
_LONGEST_READ, _LONGEST_TEXT = 2_000, 500
_LARGEST_GENERATION = 2**31 - 2
_REVIVALS = 2
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(9000, 1, 1, tzinfo=UTC)
_OF_SERVICES = frozenset({STATUS_QUEUE, ERASURES_QUEUE})
_request = msgspec.json.Decoder(DeliveryRequested)
_raw = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter to be kept. `fingerprint` is the same however often the message comes; `reported`: its worker has
    told that the notification failed."""

    id: UUID
    fingerprint: UUID
    message_id: UUID
    notification_id: UUID | None
    generation: int | None
    user_id: UUID | None
    channel: Channel | None
    template_code: str | None
    queue: str
    cause: str
    reason: str
    first_error: str | None
    last_error: str | None
    attempts: int
    provider: str | None
    published_at: datetime | None
    died_at: datetime
    reported: bool
    body: bytes | None


class LettersWanted(msgspec.Struct, frozen=True, kw_only=True):
    """Filters. `replayed` None: both those that were replayed and those that were not."""

    ids: list[UUID] | None = None
    cause: str | None = None
    template_code: str | None = None
    channel: Channel | None = None
    died_from: datetime | None = None
    died_to: datetime | None = None
    replayed: bool | None = False


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter that might be replayed."""

    id: UUID
    notification_id: UUID | None
    generation: int | None
    user_id: UUID | None
    cause: str
    died_at: datetime
    reported: bool
    has_body: bool


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Its notification as it is now."""

    notification_id: UUID
    status: Status
    generation: int
    user_id: UUID
    channel: Channel
    template_code: str
    category: str | None
    priority: int
    expires_at: datetime | None = None


class Requeue(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter on its way back: `generation` is the new one, `body` the message that will be sent."""

    letter_id: UUID
    notification_id: UUID
    user_id: UUID
    generation: int
    queue: str
    body: bytes
    step: Step


def letter_of(delivery: Delivery, now: datetime) -> Letter:
    """Whatever was in the queue can be kept. A body of nobody whom it could be forgotten with is not."""
    headers = delivery.headers
    queue = _words(headers.get(SOURCE_QUEUE_HEADER, "")) or delivery.queue
    reason = _words(headers.get(CAUSE_HEADER) or headers.get(REASON_HEADER) or "") or "unknown"
    request = None if queue in _OF_SERVICES else _read(delivery.body)
    user_id = request.user_id if request else _somebody(delivery.body)
    return Letter(
        id=uuid7(),
        fingerprint=uuid5(delivery.message_id, hashlib.sha256(delivery.body).hexdigest()),
        message_id=delivery.message_id,
        notification_id=request.notification_id if request else None,
        generation=request.generation if request else None,
        user_id=user_id,
        channel=request.channel if request else None,
        template_code=request.template_code if request else None,
        queue=queue,
        cause=cause_of(reason) if request or queue in _OF_SERVICES else UNDECODABLE,
        reason=reason,
        first_error=_words(headers.get(FIRST_ERROR_HEADER, "")) or None,
        last_error=_words(headers.get(LAST_ERROR_HEADER, "")) or None,
        attempts=notes.count_of(headers, ATTEMPTS_HEADER),
        provider=_words(headers.get(PROVIDER_HEADER, "")) or None,
        published_at=_moment(headers, PUBLISHED_AT_HEADER, now),
        died_at=_moment(headers, DEAD_AT_HEADER, now) or now,
        reported=REPORTED_HEADER in headers,
        body=delivery.body if user_id else None,
    )


def cause_of(reason: str) -> str:
    """The stable word of a reason: `missing_variable: name` is a `missing_variable`."""
    word = reason.partition(":")[0].strip().lower()
    return word if _CAUSE.fullmatch(word) else "other"


def report_of(letter: Letter) -> DeliveryReported | None:
    """What nobody has told yet: that the notification failed. Ranked as any report, so that it undoes no ending."""
    if letter.reported or letter.notification_id is None or letter.generation is None:
        return None
    step = Step(
        key=f"{letter.generation}.0.failed.dead_letter",
        kind="failed",
        at=letter.died_at,
        reason=letter.cause,
        attempt=letter.attempts or None,
        provider=letter.provider,
        detail={"queue": letter.queue},
    )
    return DeliveryReported(
        notification_id=letter.notification_id,
        generation=letter.generation,
        rank=RANK_FAILED,
        status="failed",
        reason=letter.cause,
        error=letter.last_error,
        attempts=letter.attempts,
        steps=[step],
    )


def stays_dead(letter: Candidate, standing: Standing | None, now: datetime) -> str | None:
    """Why it is not sent again, as far as the gateway's own tables tell; None where nothing speaks against it."""
    if standing is None or letter.user_id != standing.user_id:
        return "no_notification"
    if standing.status != "failed":
        return standing.status
    if letter.generation != standing.generation:
        return "superseded"
    if standing.expires_at is not None and standing.expires_at <= now:
        return "expired"
    if not letter.has_body:
        return "erased"
    return OUTCOME_UNKNOWN if letter.cause == OUTCOME_UNKNOWN else None


def may_revive(letter: Candidate, now: datetime, rest: float) -> bool:
    """Whether one that nobody answered for is queued anew by itself: twice, each time after a longer rest (seconds)."""
    if letter.reported or letter.generation is None or letter.generation >= _REVIVALS:
        return False
    return letter.died_at <= now - timedelta(seconds=rest * 2**letter.generation)


def renewed(body: bytes, generation: int, now: datetime) -> bytes:
    """The same request under another generation. Its age counts from now, or it would be given up at once."""
    return _encode({**_raw.decode(body), "generation": generation, "accepted_at": now, "send_at": None})


def bounded(moment: datetime | None) -> datetime | None:
    """A time that every column can take; without a zone it is UTC."""
    if moment is None:
        return None
    aware = moment.replace(tzinfo=moment.tzinfo or UTC)
    return _EARLIEST if aware < _EARLIEST else min(aware, _LATEST)


def _read(body: bytes) -> DeliveryRequested | None:
    try:
        request = _request.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    sound = 0 <= request.generation <= _LARGEST_GENERATION and _TEMPLATE_CODE.fullmatch(request.template_code)
    return request if sound and request.channel in CHANNELS else None


def _somebody(body: bytes) -> UUID | None:
    """Whom a body that is no request names all the same."""
    try:
        return msgspec.json.decode(_raw.decode(body)["user_id"], type=UUID)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError):
        return None


def _words(text: str) -> str:
    """Anybody's words as one line that may be kept: no addresses, nothing unprintable, bounded."""
    line = "".join(c if c.isprintable() else " " for c in text[:_LONGEST_READ])
    if len(text) > _LONGEST_READ:
        line = line.rpartition(" ")[0]
    return without_addresses(" ".join(line.split()))[:_LONGEST_TEXT].strip()


def _moment(headers: Mapping[str, str], name: str, now: datetime) -> datetime | None:
    try:
        told = bounded(datetime.fromisoformat(headers[name]))
    except (KeyError, ValueError):
        return None
    return told and min(told, now)
