"""One claim from the handler to its settlement: outcomes are applied only where the lease is still ours."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

import structlog

from carillon.kit.broker import notes
from carillon.kit.broker.batches import BackOff, outcomes_of
from carillon.kit.broker.port import (
    DELIVERY_LIMIT_REASON,
    BrokerUnavailable,
    DeadLetter,
    Delivery,
    Done,
    Handler,
    RetryAfter,
    Topology,
    Tuning,
)
from carillon.kit.broker.postgres.leases import Leases
from carillon.kit.broker.postgres.store import Claim, Claimed, MessageStore, Move

log = structlog.get_logger(__name__)


class Settling:
    """What happens to a claim after it was made."""

    def __init__(self, store: MessageStore, leases: Leases, topology: Topology, tuning: Tuning) -> None:
        self._store = store
        self._leases = leases
        self._topology = topology
        self._tuning = tuning

    async def work(self, claim: Claim, handle: Handler) -> None:
        """Handle and settle; a cancelled batch is handed back, counted, since nobody knows how far it came."""
        self._leases.hold(claim)
        try:
            await self._handle(claim, handle)
        except asyncio.CancelledError:
            await self._release(claim, delay=0)
            raise
        finally:
            self._leases.let_go(claim)

    async def _handle(self, claim: Claim, handle: Handler) -> None:
        fresh: list[Claimed] = []
        moves: list[Move] = []
        for row in claim.rows:
            if self._exhausted(row, claim.queue):
                moves.append(self._bury(row, claim.queue, DeadLetter(DELIVERY_LIMIT_REASON)))
            else:
                fresh.append(row)
        outcomes = await outcomes_of(handle, [_delivery(row, claim.queue) for row in fresh]) if fresh else ()
        if outcomes is None:
            if moves:
                await self._settle(claim, [], moves)
            await self._release(claim, delay=self._tuning.redelivery_delay)
            return
        done: list[int] = []
        for row, outcome in zip(fresh, outcomes, strict=True):
            if isinstance(outcome, Done):
                done.append(row.seq)
            else:
                moves.append(self._move(row, claim.queue, outcome))
        await self._settle(claim, done, moves)

    def _exhausted(self, row: Claimed, queue: str) -> bool:
        return queue != self._topology.dead_letter_queue and row.deliveries - 1 > self._topology.delivery_limit

    def _move(self, row: Claimed, queue: str, outcome: RetryAfter | DeadLetter) -> Move:
        if isinstance(outcome, RetryAfter):
            headers = notes.retried(row.headers, reason=outcome.reason, more=outcome.headers)
            return Move(row.seq, queue, headers, max(outcome.delay, 0.0))
        return self._bury(row, queue, outcome)

    def _bury(self, row: Claimed, queue: str, outcome: DeadLetter) -> Move:
        if queue == self._topology.dead_letter_queue:  # there is no further grave: rest, and be looked at again
            headers = notes.retried(row.headers, reason=outcome.reason, more=outcome.headers)
            return Move(row.seq, queue, headers, self._topology.retry_delays[-1])
        headers = notes.dead(
            row.headers,
            reason=outcome.reason,
            queue=queue,
            published_at=row.published_at,
            now=datetime.now(UTC),
            more=outcome.headers,
        )
        return Move(row.seq, self._topology.dead_letter_queue, headers, 0.0)

    async def _settle(self, claim: Claim, done: Sequence[int], moves: Sequence[Move]) -> None:
        """Apply the outcomes; while the server is away keep trying for the length of a lease."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._leases.seconds
        back_off = BackOff()
        while True:
            try:
                settled = await self._store.settle(claim, done, moves)
                break
            except BrokerUnavailable as error:
                if loop.time() >= deadline:
                    log.warning("broker_outcomes_dropped", queue=claim.queue, error=str(error))
                    return
                await back_off.pause()
        if settled < len(done) + len(moves):
            log.warning("broker_lease_lost", queue=claim.queue, messages=len(done) + len(moves) - settled)

    async def _release(self, claim: Claim, *, delay: float) -> None:
        with suppress(BrokerUnavailable):  # then the lease's end brings them back
            await self._store.release(claim, delay=delay, uncount=False)


def _delivery(row: Claimed, queue: str) -> Delivery:
    return Delivery(
        queue=queue,
        body=row.body,
        headers=row.headers,
        message_id=row.id,
        redelivered=row.deliveries > 1,
        delivery_count=row.deliveries - 1 + notes.retries_of(row.headers),
    )
