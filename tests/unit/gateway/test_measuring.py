"""What the gateway measures of its outbox and its queues; what nobody knows is told as unknown."""

import asyncio
import math
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from prometheus_client import REGISTRY

from carillon.gateway.actions.measure import Backlog, keep_measured
from carillon.kit.broker.port import BrokerUnavailable, QueueDepth
from carillon.kit.errors import Unavailable
from tests.support.waiting import eventually


class Outside:
    """An outbox and a broker of which everything is known."""

    def __init__(self, depths: Mapping[str, QueueDepth]) -> None:
        self.known: Mapping[str, QueueDepth] | None = depths
        self.there = True

    async def backlog(self) -> tuple[int, float]:
        if not self.there:
            raise Unavailable("The database is away.")
        return 7, 12.5

    async def depths(self) -> Mapping[str, QueueDepth]:
        if self.known is None:
            raise BrokerUnavailable("away")
        return self.known


async def measured(outside: Outside) -> Backlog:
    """One round."""
    outbox: Any = outside
    backlog = Backlog(10)
    backlog.waiting = -1
    round_in_hand = asyncio.create_task(keep_measured(outbox, outbox, backlog))

    async def done() -> bool:
        return backlog.waiting != -1

    try:
        await eventually(done, within=5, says="a round is done")
        await asyncio.sleep(0)  # the queues are asked in the turn after
    finally:
        round_in_hand.cancel()
        await asyncio.gather(round_in_hand, return_exceptions=True)
    return backlog


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"service": "gateway", **labels})


async def test_lengths_ages_and_what_waits_for_its_retry_are_told_of_every_queue() -> None:
    queue, quiet = f"q-{uuid4().hex}", f"q-{uuid4().hex}"
    outside = Outside({queue: QueueDepth(5, 2, 3, 4.5), quiet: QueueDepth(0, 0, None, None)})

    await measured(outside)

    assert (value("carillon_outbox_waiting"), value("carillon_outbox_oldest_seconds")) == (7, 12.5)
    names = ("ready", "in_flight", "delayed", "lag_seconds")
    assert [value(f"carillon_queue_{name}", queue=queue) for name in names] == [5, 2, 3, 4.5]
    assert [value(f"carillon_queue_{name}", queue=quiet) for name in names] == [0, 0, None, 0]


async def test_an_age_that_the_broker_cannot_tell_is_not_told_as_none() -> None:
    queue = f"q-{uuid4().hex}"

    await measured(Outside({queue: QueueDepth(5, 0, None, None)}))

    assert math.isnan(value("carillon_queue_lag_seconds", queue=queue) or 0)


async def test_what_is_away_leaves_no_old_figures_behind() -> None:
    queue = f"q-{uuid4().hex}"
    outside = Outside({queue: QueueDepth(5, 0, 0, 1)})
    await measured(outside)
    outside.known, outside.there = None, False

    await measured(outside)

    assert math.isnan(value("carillon_outbox_waiting") or 0)
    assert math.isnan(value("carillon_outbox_oldest_seconds") or 0)
    assert value("carillon_queue_ready", queue=queue) is None
