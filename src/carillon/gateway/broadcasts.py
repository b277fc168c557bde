"""Broadcasts, pure: what one asks of each of its people, when too many fail, and how it is shown."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from carillon.contracts.audiences import MOST_LOOKED_AT, AudienceFilter
from carillon.contracts.broadcasts import BULK_PRIORITY, Broadcast, BroadcastRequested, BroadcastStatus
from carillon.contracts.notifications import NotificationRequested
from carillon.gateway.domain import acceptance_of, checked_variables
from carillon.kit.errors import Invalid, invalid

_LEAST_SENT = 100
"""Of fewer endings no ratio is made."""
_MOST_TRIES = 10
_BYTES_A_PAGE = 8_000_000
"""What one statement may carry: each message is written twice, and all of it within 10 s."""
_canonical = msgspec.json.Encoder(order="deterministic").encode


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A broadcast as it stands; `body` is the request without the ids that came with it."""

    id: UUID
    caller_id: UUID
    body: BroadcastRequested
    body_hash: bytes
    correlation_id: str
    status: BroadcastStatus
    reason: str | None
    total: int | None
    enqueued: int
    delivered: int
    failed: int
    suppressed: int
    cancelled: int
    expired: int
    sent_before: int
    failed_before: int
    failed_tries: int
    position: UUID | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None

    @property
    def filter(self) -> AudienceFilter | None:
        """None: its people were given by their ids."""
        return self.body.audience.filter


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A broadcast that was asked for and checked. `doubt`: what is wrong with it, unless it was begun before."""

    id: UUID
    caller_id: UUID
    body: BroadcastRequested
    body_hash: bytes
    correlation_id: str
    user_ids: Sequence[UUID]
    doubt: Invalid | None = None


class Page(msgspec.Struct, frozen=True):
    """People to be enqueued together; `position` is where the next page begins, None where there is none."""

    user_ids: Sequence[UUID]
    position: UUID | None

    def cut(self, most: int) -> "Page":
        """The first `most` of them; the others begin the next page."""
        if len(self.user_ids) <= most:
            return self
        return Page(self.user_ids[:most], self.user_ids[most - 1])


def draft_of(asked: BroadcastRequested, *, broadcast_id: UUID, caller_id: UUID, correlation_id: str) -> Draft:
    """Raises Invalid where a field breaks a rule."""
    given = asked.audience
    if given.filter is not None and given.user_ids is not None:
        raise invalid("audience", "Give a filter or user_ids, not both")
    if asked.start and given.filter is None and given.user_ids is None:
        raise invalid("audience", "Give a filter or user_ids; or begin with start: false and add people by their ids")
    body = msgspec.structs.replace(asked, variables=checked_variables(asked.variables))
    ids = sorted(set(given.user_ids or ()))
    told = hashlib.sha256(_canonical((body, ids))).digest()
    body = msgspec.structs.replace(body, audience=msgspec.structs.replace(given, user_ids=None))
    draft = Draft(
        id=broadcast_id,
        caller_id=caller_id,
        body=body,
        body_hash=told,
        correlation_id=correlation_id,
        user_ids=ids,
    )
    sample = request_to(UUID(int=0), draft)
    like = acceptance_of(sample, notification_id=broadcast_id, caller_id=caller_id, correlation_id=correlation_id)
    return msgspec.structs.replace(draft, doubt=like.doubt)


def request_to(user_id: UUID, broadcast: Kept | Draft) -> NotificationRequested:
    """What is asked for one of its people. The request_id follows from the two ids: asked again, it is the same one."""
    body = broadcast.body
    return NotificationRequested(
        notification_type=body.notification_type,
        user_id=user_id,
        template_code=body.template_code,
        variables=body.variables,
        request_id=f"broadcast:{broadcast.id}:{user_id}",
        priority=priority_of(body),
        metadata=body.metadata,
        category=body.category,
        expires_at=body.expires_at,
    )


def priority_of(body: BroadcastRequested) -> int:
    return BULK_PRIORITY if body.priority is None else body.priority


def people_a_page(broadcast: Kept) -> int:
    """As many as one statement can carry of what is said to each; half of it after each try that failed."""
    like = acceptance_of(
        request_to(UUID(int=0), broadcast),
        notification_id=broadcast.id,
        caller_id=broadcast.caller_id,
        correlation_id=broadcast.correlation_id,
    )
    size = len(like.message) + len((like.metadata or "").encode())
    return max(1, min(MOST_LOOKED_AT, _BYTES_A_PAGE // size) >> broadcast.failed_tries)


def too_many_tries(tries: int, error: Exception) -> str | None:
    """Why it has to pause after so many failed tries in a row: the name of what the last one failed of."""
    if tries < _MOST_TRIES:
        return None
    return f"tries_failed: {tries} in a row, {type(error.__cause__ or error).__name__}"


def too_many_failed(broadcast: Kept, bound: float) -> str | None:
    """Why it has to pause: of those that were sent or failed since it was resumed, a greater share failed."""
    failed = broadcast.failed - broadcast.failed_before
    ended = broadcast.delivered + broadcast.failed - broadcast.sent_before
    if ended < _LEAST_SENT or failed <= bound * ended:
        return None
    return f"failure_ratio: {failed} of {ended} failed"


def shown(kept: Kept) -> Broadcast:
    ended = kept.delivered + kept.failed + kept.suppressed + kept.cancelled + kept.expired
    return Broadcast(
        broadcast_id=kept.id,
        request_id=kept.body.request_id,
        notification_type=kept.body.notification_type,
        template_code=kept.body.template_code,
        category=kept.body.category,
        priority=priority_of(kept.body),
        filter=kept.filter,
        status=kept.status,
        reason=kept.reason,
        total=kept.total,
        enqueued=kept.enqueued,
        pending=max(0, kept.enqueued - ended),
        delivered=kept.delivered,
        failed=kept.failed,
        suppressed=kept.suppressed,
        cancelled=kept.cancelled,
        expired=kept.expired,
        created_at=kept.created_at,
        updated_at=kept.updated_at,
        finished_at=kept.finished_at,
    )
