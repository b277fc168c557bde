"""Measure: how much is committed and not yet with the broker, and how full and late its queues are."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from carillon.contracts.channels import CHANNELS, queue_of
from carillon.gateway.errors import TooMuchWaits
from carillon.kit.broker.port import Broker, BrokerError, QueueDepth
from carillon.kit.errors import Unavailable
from carillon.kit.telemetry.metrics import (
    OUTBOX_OLDEST,
    OUTBOX_WAITING,
    QUEUE_DELAYED,
    QUEUE_IN_FLIGHT,
    QUEUE_LAG,
    QUEUE_READY,
)

_BULK = frozenset(queue_of(channel, "bulk") for channel in CHANNELS)
_EVERY = 5.0
_UNKNOWN = float("nan")
"""Not known, which is not the same as none."""


@dataclass(slots=True)
class Backlog:
    """How much waited in the outbox and in the queues when it was last counted; None while that is not known."""

    most: int
    waiting: int | None = None
    depths: Mapping[str, QueueDepth] | None = None

    def refusal(self, queue: str) -> TooMuchWaits | None:
        """What to tell whoever wants to add to the bulk lane now. The others pass, however much waits."""
        if queue in _BULK and self.waiting is not None and self.waiting > self.most:
            return TooMuchWaits()
        return None


class MeasuredOutbox(Protocol):
    async def backlog(self) -> tuple[int, float]:
        """How many could be sent now, and for how many seconds the oldest of them has been due. Raises Unavailable."""
        ...


async def keep_measured(outbox: MeasuredOutbox, broker: Broker, backlog: Backlog) -> None:
    """Every five seconds, until cancelled."""
    while True:
        await _measure_outbox(outbox, backlog)
        await _measure_queues(broker, backlog)
        await asyncio.sleep(_EVERY)


async def _measure_outbox(outbox: MeasuredOutbox, backlog: Backlog) -> None:
    try:
        backlog.waiting, oldest = await outbox.backlog()
    except Unavailable:
        backlog.waiting, oldest = None, _UNKNOWN
    OUTBOX_WAITING.labels("gateway").set(_UNKNOWN if backlog.waiting is None else backlog.waiting)
    OUTBOX_OLDEST.labels("gateway").set(oldest)


async def _measure_queues(broker: Broker, backlog: Backlog) -> None:
    try:
        backlog.depths = await broker.depths()
        for queue, depth in backlog.depths.items():
            _set(queue, depth)
    except BrokerError:
        backlog.depths = None
        for gauge in (QUEUE_READY, QUEUE_IN_FLIGHT, QUEUE_DELAYED, QUEUE_LAG):
            gauge.clear()


def _set(queue: str, depth: QueueDepth) -> None:
    QUEUE_READY.labels("gateway", queue).set(depth.ready)
    QUEUE_IN_FLIGHT.labels("gateway", queue).set(depth.in_flight)
    if depth.delayed is not None:
        QUEUE_DELAYED.labels("gateway", queue).set(depth.delayed)
    unknown = depth.oldest_age_seconds is None and depth.ready
    QUEUE_LAG.labels("gateway", queue).set(_UNKNOWN if unknown else depth.oldest_age_seconds or 0)
