"""The door of a lane: what cannot be read is a dead letter, and its neighbours are delivered."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from carillon.delivery.consumer import LaneConsumer
from carillon.kit.broker.port import DeadLetter, Delivery, Done, Outcome
from carillon.kit.ids import uuid7
from tests.unit.delivery.world import World


class Handing:
    """The part of a broker that hands out one batch."""

    def __init__(self, bodies: Sequence[bytes]) -> None:
        self.bodies = bodies
        self.outcomes: Sequence[Outcome] = ()
        self.consumed: tuple[str, int, int] | None = None

    async def consume(self, queue: str, handle: Any, *, size: int, in_flight: int) -> None:
        self.consumed = (queue, size, in_flight)
        deliveries = [Delivery(queue, body, {}, uuid7(), redelivered=False, delivery_count=0) for body in self.bodies]
        self.outcomes = await handle(deliveries)


async def handed(world: World, bodies: Sequence[bytes]) -> Handing:
    broker: Any = Handing(bodies)
    await LaneConsumer(broker, world.tools, service="test", lane="high", size=50, in_flight=4).run()
    assert isinstance(broker, Handing)
    return broker


async def test_good_messages_are_delivered_around_those_that_cannot_be_read(world: World) -> None:
    good = [msgspec.json.encode(world.request()) for _ in range(2)]
    deep = b'{"variables":' * 5_000
    broker = await handed(world, [good[0], b"{", b"\xff", b"[]", deep, b"", good[1]])

    assert broker.outcomes == [Done(), *[DeadLetter("undecodable")] * 5, Done()]
    assert broker.consumed == ("email.high.queue", 50, 4)
    assert len(world.provider.sent) == 2


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"channel": "push"}, "wrong_channel"),
        ({"generation": 2**31}, "undecodable"),
        ({"generation": -1}, "undecodable"),
    ],
)
async def test_a_message_that_this_worker_cannot_keep_is_a_dead_letter(
    world: World, given: dict[str, Any], reason: str
) -> None:
    broker = await handed(world, [msgspec.json.encode(world.request(**given))])
    assert broker.outcomes == [DeadLetter(reason)]


async def test_a_further_field_of_a_newer_gateway_is_no_obstacle(world: World) -> None:
    body = msgspec.json.decode(msgspec.json.encode(world.request())) | {"invented_later": 1}
    assert (await handed(world, [msgspec.json.encode(body)])).outcomes == [Done()]
