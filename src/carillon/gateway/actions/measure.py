"""Measure: how much is committed and not yet with the broker, and how full and late its queues are."""

import asyncio

from carillon.gateway.actions.ports import OutboxStore
from carillon.kit.broker.port import Broker, BrokerError, QueueDepth
from carillon.kit.errors import Unavailable
from carillon.kit.telemetry.metrics import OUTBOX_WAITING, QUEUE_IN_FLIGHT, QUEUE_LAG, QUEUE_READY

_EVERY = 5.0
_UNKNOWN = float("nan")
"""Not known, which is not the same as none."""


async def keep_measured(outbox: OutboxStore, broker: Broker) -> None:
    """Every five seconds, until cancelled."""
    while True:
        await _measure_outbox(outbox)
        await _measure_queues(broker)
        await asyncio.sleep(_EVERY)


async def _measure_outbox(outbox: OutboxStore) -> None:
    gauge = OUTBOX_WAITING.labels("gateway")
    try:
        gauge.set(await outbox.waiting())
    except Unavailable:
        gauge.set(_UNKNOWN)


async def _measure_queues(broker: Broker) -> None:
    try:
        for queue, depth in (await broker.depths()).items():
            _set(queue, depth)
    except BrokerError:
        for gauge in (QUEUE_READY, QUEUE_IN_FLIGHT, QUEUE_LAG):
            gauge.clear()


def _set(queue: str, depth: QueueDepth) -> None:
    QUEUE_READY.labels("gateway", queue).set(depth.ready)
    QUEUE_IN_FLIGHT.labels("gateway", queue).set(depth.in_flight)
    if depth.oldest_age_seconds is not None or not depth.ready:
        QUEUE_LAG.labels("gateway", queue).set(depth.oldest_age_seconds or 0)
