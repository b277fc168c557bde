"""Enqueue: the people of broadcasts under way get their notifications page by page, each once, whatever is killed."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

import msgspec
import structlog

from carillon.contracts.broadcasts import BroadcastStatus
from carillon.gateway.actions.broadcast import AudienceReader
from carillon.gateway.actions.cancel import CancellationStore
from carillon.gateway.broadcasts import Kept, Page, people_a_page, request_to, too_many_failed, too_many_tries
from carillon.gateway.domain import Acceptance, acceptance_of, cancelled
from carillon.gateway.errors import RowsRefused
from carillon.kit.errors import Unavailable
from carillon.kit.http.client import ServiceRefused, ServiceUnavailable
from carillon.kit.ids import uuid7

_log = structlog.get_logger()

_REST = 1.0
_REST_OF_FAILED = 5.0
_LEASE_SECONDS = 30.0
_PAGES_A_TURN = 10
_FOLDED = 5_000
_LOOKED_AT = 1_000
_PASSING = (Unavailable, ServiceUnavailable, ServiceRefused)
"""What a try may fail of without anybody having made a mistake."""
_A_BREATH = 100
"""Acceptances made before others have their turn."""


class EnqueuingStore(Protocol):
    async def claim(self, *, lease_seconds: float) -> Kept | None: ...

    async def release(self, broadcast_id: UUID, *, rest_seconds: float) -> None:
        """Others may claim it, at once or after a rest."""
        ...

    async def recipients(self, broadcast_id: UUID, *, after: UUID | None, most: int) -> Page: ...

    async def enqueue(self, broadcast: Kept, batch: Sequence[Acceptance], position: UUID | None) -> int | None:
        """How many are new, committed with the position; None where the broadcast does not stand so any more."""
        ...

    async def tried_in_vain(self, broadcast_id: UUID) -> int:
        """How many tries in a row have failed by now, this one included."""
        ...

    async def pending(self, broadcast_id: UUID, *, after: UUID, most: int) -> tuple[Sequence[UUID], UUID | None]: ...

    async def turn(
        self, broadcast_id: UUID, to: BroadcastStatus, *, out_of: Sequence[str], reason: str | None, owner: UUID | None
    ) -> bool: ...

    async def fold(self, *, most: int) -> int: ...


class Waiting(Protocol):
    async def waiting(self) -> int:
        """How many wait for the broker."""
        ...


@dataclass(frozen=True, slots=True)
class Enqueuing:
    """What the loop takes. `changed` wakes it, `grew` wakes the relay; `most_waiting` and `failure_ratio` hold it back.
    `count` is told how many were accepted."""

    store: EnqueuingStore
    audience: AudienceReader
    cancellations: CancellationStore
    outbox: Waiting
    grew: asyncio.Event
    changed: asyncio.Event
    count: Callable[[int], None]
    most_waiting: int
    failure_ratio: float


async def keep_enqueuing(terms: Enqueuing) -> None:
    """Turns without end, until cancelled. Several of these share the broadcasts."""
    while True:
        terms.changed.clear()
        try:
            rest = 0.0 if await take_turn(terms) else _REST
        except Unavailable as error:
            _log.warning("broadcasts_wait", reason=type(error).__name__)
            rest = _REST_OF_FAILED
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(rest):
                await terms.changed.wait()


async def take_turn(terms: Enqueuing) -> bool:
    """Count what has ended, then bring one broadcast some pages further; whether there is more to do at once.

    One whose try fails rests by itself, and the others go on. What was committed by then stays. Raises Unavailable
    where none can be claimed.
    """
    while await terms.store.fold(most=_FOLDED) == _FOLDED:
        pass
    broadcast = await terms.store.claim(lease_seconds=_LEASE_SECONDS)
    if broadcast is None:
        return False
    rest = 0.0
    try:
        return await _try(broadcast, terms)
    except _PASSING as error:
        rest = _REST_OF_FAILED
        _log.warning("broadcast_waits", broadcast_id=str(broadcast.id), reason=type(error).__name__)
        return True
    except Exception:
        rest = _REST_OF_FAILED
        raise
    finally:
        with contextlib.suppress(Unavailable):
            await terms.store.release(broadcast.id, rest_seconds=rest)


async def _try(broadcast: Kept, terms: Enqueuing) -> bool:
    try:
        if broadcast.status == "cancelling":
            return await _take_back(broadcast, terms)
        if reason := too_many_failed(broadcast, terms.failure_ratio):
            await _pause(broadcast, reason, terms)
            return True
        return await _go_on(broadcast, terms)
    except ServiceUnavailable:  # nobody tells who its people are: not for anything that it holds
        raise
    except Exception as error:
        await _note_failed_try(broadcast, error, terms)
        raise


async def _note_failed_try(broadcast: Kept, error: Exception, terms: Enqueuing) -> None:
    """It stays with the broadcast: restarts do not begin to count anew. While the database is away nothing counts."""
    with contextlib.suppress(Unavailable):
        tries = await terms.store.tried_in_vain(broadcast.id)
        if reason := too_many_tries(tries, error):
            await _pause(broadcast, reason, terms)


async def _go_on(broadcast: Kept, terms: Enqueuing) -> bool:
    most = people_a_page(broadcast)
    for _ in range(_PAGES_A_TURN):
        if await terms.outbox.waiting() > terms.most_waiting:
            return False
        page = await _page(broadcast, terms, most)
        try:
            fresh = await terms.store.enqueue(broadcast, await _acceptances(broadcast, page), page.position)
        except RowsRefused as error:
            await _pause(broadcast, f"refused: {error}", terms)
            return True
        if fresh is None:
            return True
        terms.grew.set()
        terms.count(fresh)
        _log.info("broadcast_enqueued", broadcast_id=str(broadcast.id), enqueued=fresh, more=page.position is not None)
        if page.position is None:
            return True
        broadcast = msgspec.structs.replace(broadcast, position=page.position)
    return True


async def _page(broadcast: Kept, terms: Enqueuing, most: int) -> Page:
    wanted = broadcast.filter
    if wanted is None:
        return await terms.store.recipients(broadcast.id, after=broadcast.position, most=most)
    told = await terms.audience.audience(wanted, after=broadcast.position)
    return Page(told.user_ids, told.next_after).cut(most)


async def _acceptances(broadcast: Kept, page: Page) -> Sequence[Acceptance]:
    made = []
    for number, user_id in enumerate(page.user_ids, 1):
        made.append(
            acceptance_of(
                request_to(user_id, broadcast),
                notification_id=uuid7(),
                caller_id=broadcast.caller_id,
                correlation_id=broadcast.correlation_id,
            )
        )
        if number % _A_BREATH == 0:
            await asyncio.sleep(0)
    return made


async def _pause(broadcast: Kept, reason: str, terms: Enqueuing) -> None:
    if await terms.store.turn(broadcast.id, "paused", out_of=("running",), reason=reason, owner=None):
        _log.warning("broadcast_paused", broadcast_id=str(broadcast.id), reason=reason)


async def _take_back(broadcast: Kept, terms: Enqueuing) -> bool:
    """Whatever no relay has had; begun anew after a crash, it finds what is left."""
    step = cancelled(datetime.now(UTC), reason="broadcast_cancelled")
    after: UUID | None = UUID(int=0)
    while after is not None:
        pending, after = await terms.store.pending(broadcast.id, after=after, most=_LOOKED_AT)
        if pending:
            await terms.cancellations.cancel(pending, step, owner=None)
    await terms.store.turn(broadcast.id, "cancelled", out_of=("cancelling",), reason=None, owner=None)
    return True
