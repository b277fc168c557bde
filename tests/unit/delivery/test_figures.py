"""What a worker counts of its deliveries: each ending once, and how long messages wait for it."""

from typing import Any
from uuid import uuid4

import msgspec
import pytest
from prometheus_client import REGISTRY

from carillon.delivery.actions.deliver import deliver
from carillon.delivery.consumer import LaneConsumer
from carillon.delivery.domain import Failed, Refused
from carillon.delivery.metrics import Endings
from carillon.kit.broker.port import Delivery
from carillon.kit.ids import uuid7
from carillon.kit.telemetry.metrics import rendered
from tests.unit.delivery.world import World


@pytest.fixture
def service(world: World) -> str:
    """A label that no other test counts under."""
    name = f"figures-{uuid4().hex[:8]}"
    object.__setattr__(world.tools, "endings", Endings("email", service=name))
    return name


def counted(name: str, **labels: str) -> float:
    rendered()
    return REGISTRY.get_sample_value(name, labels) or 0.0


def ended(service: str, outcome: str, provider: str = "") -> float:
    labels = {"service": service, "channel": "email", "provider": provider, "outcome": outcome}
    return counted("carillon_deliveries_total", **labels)


async def test_every_ending_is_counted_with_its_provider(world: World, service: str) -> None:
    name = world.provider.name
    refusing = world.person(allowed=False)

    await deliver([world.work(), world.work(), world.work(refusing)], world.tools)
    world.provider.script = [Refused("unknown_mailbox", "550"), Failed("busy", "451")]
    for _ in range(2):
        await deliver([world.work()], world.tools)

    assert (ended(service, "delivered", name), ended(service, "suppressed")) == (2, 1)
    assert (ended(service, "failed", name), ended(service, "retried", name)) == (1, 1)


async def test_the_time_of_a_delivery_counts_from_when_it_was_due(world: World, service: str) -> None:
    work = world.work()
    world.time += 7

    await deliver([work], world.tools)

    labels = {"service": service, "channel": "email", "lane": "normal"}
    assert counted("carillon_delivery_seconds_sum", **labels) == pytest.approx(7, abs=0.5)
    assert counted("carillon_delivery_seconds_count", **labels) == 1


class Handing:
    """The part of a broker that hands out one batch: the last of it not for the first time."""

    def __init__(self, bodies: list[bytes]) -> None:
        self.bodies = bodies

    async def consume(self, queue: str, handle: Any, *, size: int, in_flight: int) -> None:
        last = len(self.bodies) - 1
        await handle(
            [
                Delivery(queue, body, {}, uuid7(), redelivered=False, delivery_count=int(number == last))
                for number, body in enumerate(self.bodies)
            ]
        )


async def test_the_longest_wait_of_a_batch_is_noted_and_retries_are_none(world: World, service: str) -> None:
    old = world.request()
    world.time += 20
    older = world.request()
    broker: Any = Handing([msgspec.json.encode(request) for request in (older, old)])

    await LaneConsumer(broker, world.tools, service=service, lane="normal", size=50, in_flight=4).run()

    labels = {"service": service, "queue": "email.queue"}
    assert counted("carillon_queue_wait_seconds_sum", **labels) == pytest.approx(20, abs=0.5)
    assert counted("carillon_queue_wait_seconds_count", **labels) == 1
    assert counted("carillon_messages_total", **labels, outcome="done") == 2
