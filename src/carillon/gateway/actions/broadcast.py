"""Broadcast: begin one, see how many it is for, pause, resume and cancel it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

import structlog

from carillon.contracts.audiences import AudienceFilter, AudiencePage
from carillon.contracts.broadcasts import Audience, BroadcastRequested, BroadcastStatus
from carillon.gateway.actions.look_up import Neighbours, ask
from carillon.gateway.broadcasts import Draft, Kept, draft_of
from carillon.gateway.errors import BroadcastBegun, BroadcastEnded, BroadcastNotFound, RequestIdReused, TemplateNotFound
from carillon.kit.bulkhead import Bulkhead
from carillon.kit.errors import Unavailable
from carillon.kit.http.client import ServiceRefused, ServiceUnavailable
from carillon.kit.ids import uuid7

_log = structlog.get_logger()

_COUNTING_SECONDS = 10.0
_COUNTING_SECONDS_BEFORE = 5.0
"""For a broadcast that is to begin, counted or not."""
_FROM: Final[dict[BroadcastStatus, tuple[BroadcastStatus, ...]]] = {
    "paused": ("running",),
    "running": ("paused",),
    "cancelling": ("running", "paused", "finished"),
}
"""Which status may become which."""
_THERE: Final[dict[BroadcastStatus, tuple[BroadcastStatus, ...]]] = {
    "paused": ("paused",),
    "running": ("running", "finished"),
    "cancelling": ("cancelling", "cancelled"),
}
"""Where nothing is left to do for it."""


class AudienceReader(Protocol):
    async def audience(self, wanted: AudienceFilter, *, after: UUID | None, count_only: bool = False) -> AudiencePage:
        """Raises ServiceUnavailable, ServiceRefused."""
        ...


class BroadcastStore(Protocol):
    async def add(self, draft: Draft, *, total: int | None) -> bool: ...

    async def of_request(self, caller_id: UUID, request_id: str) -> Kept | None: ...

    async def one(self, broadcast_id: UUID, *, owner: UUID | None) -> Kept | None: ...

    async def page(self, *, owner: UUID | None, limit: int, offset: int) -> tuple[Sequence[Kept], int]: ...

    async def give(self, broadcast_id: UUID, user_ids: Sequence[UUID], *, owner: UUID | None) -> bool: ...

    async def turn(
        self, broadcast_id: UUID, to: BroadcastStatus, *, out_of: Sequence[str], reason: str | None, owner: UUID | None
    ) -> bool: ...


@dataclass(frozen=True, slots=True)
class Studio:
    """What these actions take; `changed` wakes the loop that enqueues, `counting` bounds how many count at a time."""

    store: BroadcastStore
    audience: AudienceReader
    neighbours: Neighbours
    changed: asyncio.Event
    counting: Bulkhead


async def begin(
    asked: BroadcastRequested, studio: Studio, *, caller_id: UUID, correlation_id: str
) -> tuple[Kept, bool]:
    """The broadcast, committed, and whether this request made it. Raises Invalid, TemplateNotFound, RequestIdReused,
    Unavailable. A replay depends on nothing that is there now, and a beginning on nobody who counts."""
    draft = draft_of(asked, broadcast_id=uuid7(), caller_id=caller_id, correlation_id=correlation_id)
    present = await studio.store.of_request(caller_id, asked.request_id)
    made = present is None and await _add(draft, studio)
    kept = present or await studio.store.of_request(caller_id, asked.request_id)
    if kept is None:
        raise BroadcastNotFound
    if kept.body_hash != draft.body_hash:
        raise RequestIdReused
    if made:
        studio.changed.set()
        _log.info("broadcast_begun", broadcast_id=str(kept.id), total=kept.total, caller_id=str(caller_id))
    return kept, made


async def _add(draft: Draft, studio: Studio) -> bool:
    if draft.doubt is not None:
        raise draft.doubt
    await _check_template(draft.body, studio.neighbours)
    return await studio.store.add(draft, total=await _total(draft, studio))


async def _total(draft: Draft, studio: Studio) -> int | None:
    """None where they cannot be counted now: it is known once they have been met. A refusal is told: it would meet
    each of its pages as well."""
    filtered = draft.body.audience.filter
    if filtered is None:
        return len(draft.user_ids)
    try:
        return await _counted(filtered, studio, seconds=_COUNTING_SECONDS_BEFORE)
    except Unavailable as error:
        if isinstance(error.__cause__, ServiceRefused):
            raise
        _log.warning("broadcast_not_counted", broadcast_id=str(draft.id), reason=error.message)
        return None


async def count(audience: Audience, studio: Studio) -> int:
    """How many people it is for now. Raises Invalid, Unavailable."""
    if audience.filter is not None:
        return await _counted(audience.filter, studio, seconds=_COUNTING_SECONDS)
    return len(set(audience.user_ids or ()))


async def _counted(wanted: AudienceFilter, studio: Studio, *, seconds: float) -> int:
    total, after = 0, None
    async with studio.counting.place():
        try:
            async with asyncio.timeout(seconds):
                while True:
                    page = await studio.audience.audience(wanted, after=after, count_only=True)
                    total, after = total + page.count, page.next_after
                    if after is None:
                        return total
        except (ServiceUnavailable, ServiceRefused, TimeoutError) as error:
            raise Unavailable("The users service cannot count the audience now.", retry_after=5) from error


async def _check_template(body: BroadcastRequested, neighbours: Neighbours) -> None:
    """As for one notification: nobody who can be asked knows of words. Silence hinders nobody."""
    wanted = body.audience.filter
    languages = (None, wanted.locale) if wanted and wanted.locale else (None,)
    for language in languages:
        found = await ask(
            neighbours, neighbours.templates.published(body.template_code, body.notification_type, language)
        )
        if found is not None:
            return
    raise TemplateNotFound(
        f"No template {body.template_code} is published for {body.notification_type}: publish a version."
    )


async def read(broadcast_id: UUID, store: BroadcastStore, *, owner: UUID | None) -> Kept:
    """Raises BroadcastNotFound. `owner` None: whoever began it."""
    kept = await store.one(broadcast_id, owner=owner)
    if kept is None:
        raise BroadcastNotFound
    return kept


async def give(broadcast_id: UUID, user_ids: Sequence[UUID], studio: Studio, *, owner: UUID | None) -> Kept:
    """Add people by their ids to one that has not begun. Raises BroadcastNotFound, BroadcastBegun."""
    kept = await read(broadcast_id, studio.store, owner=owner)
    if kept.filter is not None or not await studio.store.give(broadcast_id, user_ids, owner=owner):
        raise BroadcastBegun
    return await read(broadcast_id, studio.store, owner=owner)


async def turn(broadcast_id: UUID, to: BroadcastStatus, studio: Studio, *, owner: UUID | None, by: UUID) -> Kept:
    """Pause, resume or cancel; doing it again does no harm. Raises BroadcastNotFound, BroadcastEnded."""
    reason = "asked_for" if to == "paused" else None
    done = await studio.store.turn(broadcast_id, to, out_of=_FROM[to], reason=reason, owner=owner)
    kept = await read(broadcast_id, studio.store, owner=owner)
    if done:
        studio.changed.set()
        _log.info("broadcast_turned", broadcast_id=str(broadcast_id), to=to, by=str(by))
    elif kept.status not in _THERE[to]:
        raise BroadcastEnded(kept.status)
    return kept
