"""Accept: a request becomes a committed notification, once for each (caller, request_id)."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from carillon.contracts.notifications import NotificationRequested
from carillon.gateway.actions.look_up import Neighbours, look_up
from carillon.gateway.actions.measure import Backlog
from carillon.gateway.actions.ports import AcceptanceStore, CommitBatch, HandIn
from carillon.gateway.domain import Acceptance, Standing, acceptance_of, refused
from carillon.gateway.errors import RequestIdReused, RowsRefused
from carillon.kit.coalescer import coalescing
from carillon.kit.errors import Problem
from carillon.kit.ids import uuid7
from carillon.kit.telemetry.tracing import TRACING

_log = structlog.get_logger()

_BATCHES_AT_ONCE, _MOST_BATCHES = 2, 64
"""Commits of batches at a time, which leave connections to everybody else; and how many batches may wait for theirs."""


@dataclass(frozen=True, slots=True)
class Acceptor:
    """What accepting takes: `hand_in` is shared by all callers and commits for many of them at a time."""

    hand_in: HandIn
    store: AcceptanceStore
    neighbours: Neighbours
    backlog: Backlog


async def accept(asked: NotificationRequested, acceptor: Acceptor, *, caller_id: UUID, correlation_id: str) -> Standing:
    """Where the request stands once it is committed.

    Raises Invalid, UserNotFound, TemplateNotFound, RequestIdReused, TooMuchWaits, Unavailable.
    A replay does not depend on the user or the template being there still, nor on how much waits or whether its times
    are to come; a neighbour that cannot be asked hinders nobody.
    """
    acceptance = acceptance_of(
        asked,
        notification_id=uuid7(),
        caller_id=caller_id,
        correlation_id=correlation_id,
        traceparent=TRACING.traceparent(),
    )
    doubt: Problem | None = acceptance.doubt or acceptor.backlog.refusal(acceptance.queue)
    doubt = doubt or (await look_up(asked, acceptor.neighbours)).unknown(asked)
    if doubt is None:
        standing = await acceptor.hand_in(acceptance)
    else:
        present = await acceptor.store.find(caller_id, asked.request_id)
        if present is None:
            raise doubt
        standing = present
    if standing.body_hash != acceptance.body_hash:
        raise RequestIdReused
    return standing


def flusher(
    store: AcceptanceStore, grew: asyncio.Event
) -> Callable[[Sequence[Acceptance]], Awaitable[Sequence[Standing | Exception]]]:
    """What the coalescer runs; sets `grew` when there is something new for the relay."""

    async def flush(batch: Sequence[Acceptance]) -> Sequence[Standing | Exception]:
        standings: Sequence[Standing | Exception]
        try:
            standings = await store.accept(batch)
        except RowsRefused:
            standings = await _in_halves(store, batch)
        fresh = [s.notification_id for s in standings if isinstance(s, Standing) and s.fresh]
        if fresh:
            grew.set()
        _log.info("notifications_accepted", accepted=len(fresh), others=len(batch) - len(fresh), correlation_id=None)
        _tell_each(batch, standings)
        return standings

    return flush


def _tell_each(batch: Sequence[Acceptance], standings: Sequence[Standing | Exception]) -> None:
    """A line for each costs ten times what the one above does for all: for who has asked for it."""
    if not _log.is_enabled_for(logging.DEBUG):
        return
    for acceptance, standing in zip(batch, standings, strict=True):
        if isinstance(standing, Standing) and standing.fresh:
            told = {"notification_id": str(standing.notification_id), "correlation_id": acceptance.correlation_id}
            _log.debug("notification_accepted", queue=acceptance.queue, **told)


@contextlib.asynccontextmanager
async def committing(
    store: AcceptanceStore, grew: asyncio.Event, *, size: int
) -> AsyncIterator[tuple[HandIn, CommitBatch]]:
    """Two ways to commit: with whatever else is waiting, up to `size`; and a whole batch at once.

    Either goes on when its caller hangs up, and is drained at the end.
    """
    flush = flusher(store, grew)

    async def flush_each(
        batches: Sequence[Sequence[Acceptance]],
    ) -> Sequence[Sequence[Standing | Exception] | Exception]:
        return [await flush(batch) for batch in batches]

    async with (
        coalescing(flush, size=size) as one,
        coalescing(flush_each, size=1, parallel=_BATCHES_AT_ONCE, most=_MOST_BATCHES) as many,
    ):
        yield one, many


async def _in_halves(store: AcceptanceStore, batch: Sequence[Acceptance]) -> list[Standing | Exception]:
    """One bad row harms no neighbour: what is refused is tried by halves, down to the row itself."""
    if len(batch) == 1:
        return [await _alone(store, batch[0])]
    middle, standings = len(batch) // 2, list[Standing | Exception]()
    for half in (batch[:middle], batch[middle:]):
        try:
            standings += await store.accept(half)
        except RowsRefused:
            standings += await _in_halves(store, half)
        except Exception as error:  # noqa: BLE001 - handed to those it belongs to: others are committed by now
            standings += [error] * len(half)
    return standings


async def _alone(store: AcceptanceStore, acceptance: Acceptance) -> Standing | Exception:
    try:
        return (await store.accept([acceptance]))[0]
    except RowsRefused as error:
        _log.warning("acceptance_refused", error=str(error), correlation_id=acceptance.correlation_id)
        return refused(str(error))
    except Exception as error:  # noqa: BLE001 - handed to the one caller it belongs to
        return error
