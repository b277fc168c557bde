"""Relay: what is committed reaches the broker, and leaves the outbox once the broker has confirmed it."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import structlog

from carillon.contracts.messages import CORRELATION_HEADER
from carillon.gateway.actions.beside import Beside
from carillon.gateway.actions.ports import OutboxStore, Publisher
from carillon.gateway.actions.room import Room, no_bound
from carillon.gateway.domain import Due
from carillon.gateway.tracing import published
from carillon.gateway.turns import HIGH, by_lanes, more_waits
from carillon.kit.broker.batches import BackOff
from carillon.kit.broker.port import BrokerUnavailable, Message, PublishFailed
from carillon.kit.errors import Unavailable
from carillon.kit.telemetry.metrics import PUBLISHED
from carillon.kit.telemetry.tracing import TRACEPARENT

_log = structlog.get_logger()

_SHORTEST_REST, _LONGEST_REST = 0.02, 0.25
_REST_OF_FAILED = 5.0
_DRAIN_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Relaying:
    """How much the relay takes at once and how long its lease lasts; `grew` wakes it after an acceptance nearby.

    `room` is what the broker's queues can take, `owed` what became of the last batch and the outbox has not been told
    yet.
    """

    outbox: OutboxStore
    broker: Publisher
    grew: asyncio.Event
    room: Room = field(default_factory=no_bound)
    size: int = 500
    lease_seconds: float = 20.0
    owed: deque[Callable[[], Awaitable[None]]] = field(default_factory=deque)


@dataclass(frozen=True, slots=True)
class Relayed:
    """One round: `published` is less than `claimed` when the broker did not confirm all; `more`: go on at once."""

    claimed: int
    published: int
    trouble: str | None = None
    more: bool = False


async def relay(terms: Relaying) -> None:
    """Rounds without end; on cancellation what is in hand is finished first."""
    beside: Beside[Relayed] = Beside(partial(relay_high, terms))
    try:
        await _rounds(terms, beside)
    finally:
        await beside.drain(_DRAIN_SECONDS)


async def _rounds(terms: Relaying, beside: Beside[Relayed]) -> None:
    rest, back_off = _SHORTEST_REST, BackOff()
    while True:
        terms.grew.clear()
        done = await beside.go(_round(terms), beside=terms.room.crowded)
        if (trouble := beside.told() or done.trouble) is not None:
            if back_off.fresh:
                _log.warning("relay_waits", reason=trouble)
            await back_off.pause()
            continue
        back_off.reset()
        if done.more:
            continue
        rest = _SHORTEST_REST if done.claimed else min(rest * 2, _LONGEST_REST)
        if terms.room.crowded:  # a queue is full, and what is accepted for it is nothing to wake up for
            await asyncio.sleep(_SHORTEST_REST)
        with contextlib.suppress(TimeoutError):
            # wait_for would lose a cancellation that meets the acceptance
            async with asyncio.timeout(min(rest, terms.room.pause) if terms.room.crowded else rest):
                await terms.grew.wait()


async def relay_once(terms: Relaying) -> Relayed:
    """Lease, publish, settle. No transaction is open and no row is locked while the broker is waited for.

    Raises Unavailable when the database is away; what it could not be told is told first in the next round.
    """
    await _tell(terms)
    due, more = await _claim(terms)
    if not due:
        return Relayed(0, 0)
    published, trouble = await _hand_over(terms, due)
    return Relayed(len(due), published, trouble, more)


async def relay_high(terms: Relaying) -> str | None:
    """The high lane alone, as far as its queues have room, beside a round of a backlog: what is urgent does not wait
    for its end. Answers the trouble that it met."""
    turns = [turn for turn in terms.room.turns(terms.size) if turn.lane == HIGH]
    if not turns:
        return None
    try:
        due = await terms.outbox.take_turns(turns, terms.size, lease_seconds=terms.lease_seconds)
        if not due:
            return None
        terms.room.served(turns, due)
        return (await _hand_over(terms, due))[1]
    except Unavailable as error:
        return error.message


async def _hand_over(terms: Relaying, due: Sequence[Due]) -> tuple[int, str | None]:
    """How many of these the broker has confirmed, and the trouble. Raises Unavailable."""
    terms.room.took(due)
    at = datetime.now(UTC)
    failed, trouble, doubtful = await _publish(terms.broker, due)
    sent = [d for d in due if d.notification_id not in failed]
    if sent:
        terms.owed.append(partial(terms.outbox.settle, sent, at))
        _count(sent)
        _log.info("outbox_relayed", published=len(sent), failed=len(failed))
        _tell_each(sent)
    if failed:
        unsent = [d for d in due if d.notification_id in failed]
        rest = _REST_OF_FAILED if doubtful else 0.0
        terms.owed.append(partial(terms.outbox.give_back, unsent, rest_seconds=rest, maybe_sent=doubtful))
    await _tell(terms)
    return len(sent), trouble


async def _claim(terms: Relaying) -> tuple[Sequence[Due], bool]:
    """What goes to the broker now, and whether there may be more: by time as long as all goes, else by turns."""
    room = terms.room
    await room.look()
    size = min(terms.size, room.least)
    if size > 0 and not room.crowded:
        due = await terms.outbox.claim(size, lease_seconds=terms.lease_seconds)
        room.crowded = len(due) >= size
        return due, room.crowded
    turns = room.turns(terms.size)
    due = await terms.outbox.take_turns(turns, terms.size, lease_seconds=terms.lease_seconds) if turns else ()
    room.served(turns, due)
    more = more_waits(turns, due, terms.size)
    room.crowded = more or size <= 0
    return due, more


async def _tell(terms: Relaying) -> None:
    """A claim is settled by its lease, ended or not, unless another relay has taken the rows since."""
    while terms.owed:
        word = terms.owed.popleft()
        try:
            await word()
        except Unavailable:
            terms.owed.appendleft(word)
            raise


async def _round(terms: Relaying) -> Relayed:
    try:
        return await relay_once(terms)
    except Unavailable as error:  # a claim whose answer was lost comes back when its lease ends
        return Relayed(0, 0, error.message)


async def _publish(broker: Publisher, due: Sequence[Due]) -> tuple[set[Any], str | None, bool]:
    """The ids that are not known to be with the broker, the trouble, and whether it may have them after all."""
    try:
        with published(due) as traced:
            await broker.publish([_message(d, traced) for d in by_lanes(due)])
    except PublishFailed as error:
        return {m.message_id for m in error.failed}, error.reason, True
    except BrokerUnavailable as error:
        return {d.notification_id for d in due}, str(error), False
    return set(), None, False


def _message(due: Due, traced: Mapping[UUID, str]) -> Message:
    headers = {CORRELATION_HEADER: due.correlation_id}
    if (traceparent := traced.get(due.notification_id)) is not None:
        headers[TRACEPARENT] = traceparent
    return Message(due.queue, due.body, headers, due.notification_id)


def _tell_each(sent: Sequence[Due]) -> None:
    if _log.is_enabled_for(logging.DEBUG):
        for due in sent:
            told = {"notification_id": str(due.notification_id), "correlation_id": due.correlation_id}
            _log.debug("notification_queued", queue=due.queue, **told)


def _count(sent: Sequence[Due]) -> None:
    for queue in {d.queue for d in sent}:
        PUBLISHED.labels("gateway", queue).inc(sum(d.queue == queue for d in sent))
