"""Accept many: each item is accepted or refused on its own, all that are accepted are committed at once."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec
import structlog

from carillon.contracts.batches import BatchReport, BatchResult
from carillon.contracts.notifications import NotificationRequested, RequestId
from carillon.gateway.actions.look_up import Neighbours, look_up_all
from carillon.gateway.actions.measure import Backlog
from carillon.gateway.actions.ports import AcceptanceStore, CommitBatch
from carillon.gateway.domain import Acceptance, Standing, acceptance_of
from carillon.gateway.errors import RequestIdReused
from carillon.kit.errors import Crashed, Problem
from carillon.kit.ids import uuid7

_log = structlog.get_logger()

_TURN = 0.002
"""Seconds after which others have their turn: a thousand items take some twenty milliseconds."""

Read = Callable[[msgspec.Raw], NotificationRequested]
"""Raises Problem."""


@dataclass(frozen=True, slots=True)
class BatchAcceptor:
    """What accepting many takes; `commit` goes on when the caller hangs up."""

    commit: CommitBatch
    store: AcceptanceStore
    neighbours: Neighbours
    backlog: Backlog


@dataclass(slots=True)
class _Item:
    """One of a batch, and how far it has come: `outcome` is final, `doubt` is, unless it was accepted before."""

    raw: msgspec.Raw
    asked: NotificationRequested | None = None
    acceptance: Acceptance | None = None
    doubt: Problem | None = None
    outcome: Standing | Problem | None = None


async def accept_batch(
    raws: Sequence[msgspec.Raw], read: Read, acceptor: BatchAcceptor, *, caller_id: UUID, correlation_id: str
) -> BatchReport:
    """As many `accept`s would have it, one after the other: of two items with one request_id the first counts.

    Raises Unavailable where nobody can tell what became of the whole; the same batch again settles it.
    """
    items = [_Item(raw) for raw in raws]
    await _read(items, read, caller_id=caller_id, correlation_id=correlation_id)
    await _doubt(items, acceptor)
    await _settle_doubts(items, acceptor.store, caller_id)
    await _commit(items, acceptor)
    return _report(items)


async def _read(items: Sequence[_Item], read: Read, *, caller_id: UUID, correlation_id: str) -> None:
    turn = time.perf_counter() + _TURN
    for item in items:
        try:
            item.asked = asked = read(item.raw)
            item.acceptance = acceptance_of(
                asked, notification_id=uuid7(), caller_id=caller_id, correlation_id=correlation_id
            )
        except Problem as problem:
            item.outcome = problem
        if time.perf_counter() > turn:
            await asyncio.sleep(0)
            turn = time.perf_counter() + _TURN


async def _doubt(items: Sequence[_Item], acceptor: BatchAcceptor) -> None:
    asked = []
    for item in items:
        if item.asked is None or item.acceptance is None:
            continue
        item.doubt = item.acceptance.doubt or acceptor.backlog.refusal(item.acceptance.queue)
        if item.doubt is None:
            asked.append((item, item.asked))
    unknown = await look_up_all([each for _, each in asked], acceptor.neighbours)
    for (item, _), problem in zip(asked, unknown, strict=True):
        item.doubt = problem


async def _settle_doubts(items: Sequence[_Item], store: AcceptanceStore, caller_id: UUID) -> None:
    """A replay depends on nothing that is there now."""
    doubtful = [(item, item.asked.request_id) for item in items if item.doubt is not None and item.asked is not None]
    if not doubtful:
        return
    present = await store.find_all(caller_id, list({request_id for _, request_id in doubtful}))
    for item, request_id in doubtful:
        item.outcome = present.get(request_id) or item.doubt


async def _commit(items: Sequence[_Item], acceptor: BatchAcceptor) -> None:
    ready = [(item, item.acceptance) for item in items if item.acceptance is not None and item.outcome is None]
    standings = await acceptor.commit([acceptance for _, acceptance in ready]) if ready else ()
    for (item, _), standing in zip(ready, standings, strict=True):
        item.outcome = standing if isinstance(standing, Standing) else _problem(standing)


def _problem(error: Exception) -> Problem:
    if isinstance(error, Problem):
        return error
    _log.error("batch_item_crashed", exc_info=error)
    return Crashed()


def _report(items: Sequence[_Item]) -> BatchReport:
    counts = {"accepted": 0, "replayed": 0, "refused": 0}
    results = [_result(index, item, counts) for index, item in enumerate(items)]
    return BatchReport(**counts, results=results)


def _result(index: int, item: _Item, counts: dict[str, int]) -> BatchResult:
    outcome = item.outcome
    if isinstance(outcome, Standing) and item.acceptance and outcome.body_hash != item.acceptance.body_hash:
        outcome = RequestIdReused()
    request_id = item.asked.request_id if item.asked else _named(item.raw)
    if isinstance(outcome, Standing):
        counts["accepted" if outcome.fresh else "replayed"] += 1
        return BatchResult(index, request_id, outcome.notification_id, outcome.status, outcome.stage)
    counts["refused"] += 1
    problem = outcome or Crashed()
    return BatchResult(
        index,
        request_id,
        error=problem.code,
        message=problem.message,
        details=problem.details or msgspec.UNSET,
    )


class _Named(msgspec.Struct):
    request_id: RequestId


def _named(raw: msgspec.Raw) -> str | None:
    """The request_id of an item that is wrong in another way."""
    try:
        return msgspec.json.decode(raw, type=_Named).request_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
