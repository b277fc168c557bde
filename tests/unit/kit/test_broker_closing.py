"""A channel that the server closes: whatever comes to its end meanwhile, nothing is written behind the answer."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pamqp.frame
from aiormq.channel import Channel
from pamqp import commands as spec

from carillon.kit.broker.port import Delivery, Done, Outcome, RetryAfter, Topology, Tuning
from carillon.kit.broker.rabbitmq.consuming import Arrivals
from carillon.kit.broker.rabbitmq.link import Session
from carillon.kit.broker.rabbitmq.publishing import LOST, Parcel, Publisher
from carillon.kit.broker.rabbitmq.settling import Hand
from carillon.kit.broker.rabbitmq.tap import Tap
from tests.unit.kit.test_broker_tap import message

CLOSE = pamqp.frame.marshal(spec.Channel.Close(406, "no", 0, 0), 2)
TOPOLOGY = Topology("e", ("q",), "dead", "retry", (1.0,), "topics")


class Wire(asyncio.Transport):
    """Remembers what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.said = b""

    def write(self, data: Any) -> None:
        self.said += bytes(data)

    def is_closing(self) -> bool:
        return False


class OpenStill:
    """The channel as the library knows it until it has read on; and its session, which lives on."""

    number = 2
    is_closed = False

    def __init__(self, tap: Tap) -> None:
        self.tap = tap
        self.lost = asyncio.Event()


def tapped() -> tuple[Tap, Wire]:
    loop = asyncio.get_running_loop()
    tap, wire = Tap(asyncio.StreamReader(loop=loop), loop), Wire()
    tap.connection_made(wire)
    return tap, wire


def holding(tap: Tap) -> tuple[Hand, Arrivals]:
    there = OpenStill(tap)
    hand = Hand("q", cast(Session, there), cast(Channel, there), TOPOLOGY, Tuning(redelivery_delay=0))
    arrivals = Arrivals(hand)
    tap.take(2, arrivals)
    return hand, arrivals


async def done(deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
    return [Done()] * len(deliveries)


async def later(deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
    return [RetryAfter(1.0, "later")] * len(deliveries)


async def test_what_is_done_while_the_channel_is_open_is_acknowledged() -> None:
    tap, wire = tapped()
    hand, arrivals = holding(tap)
    tap.data_received(message(2, 1, b"{}"))

    await hand.work(await arrivals.some(10), done)

    assert isinstance(pamqp.frame.unmarshal(wire.said)[2], spec.Basic.Ack)


async def test_nothing_is_settled_on_a_channel_whose_closing_has_been_heard_of() -> None:
    tap, wire = tapped()
    hand, arrivals = holding(tap)
    tap.data_received(message(2, 1, b"{}") + message(2, 2, b"{}"))
    handled = await arrivals.some(1)
    tap.data_received(CLOSE)

    await hand.work(handled, done)
    await hand.work(handled, later)
    hand.requeue(arrivals.unread())

    assert wire.said == b""
    assert await arrivals.some(10) == [], "and nothing more is begun"


async def test_the_library_hears_of_the_closing_too() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    tap = Tap(reader, loop)
    holding(tap)
    tap.data_received(CLOSE[:9])
    tap.data_received(CLOSE[9:])

    assert await reader.read(1000) == CLOSE


async def test_nothing_is_published_on_a_channel_whose_closing_has_been_heard_of() -> None:
    tap, wire = tapped()
    publisher = Publisher(tap, 2, largest_frame=1000)
    tap.take(2, publisher)
    under_way = asyncio.create_task(publisher.publish([Parcel("e", "q", b"1")], within=5))
    await asyncio.sleep(0)
    said = wire.said
    assert said
    tap.data_received(CLOSE)

    assert await under_way == {0: LOST}
    assert await publisher.publish([Parcel("e", "q", b"2")], within=5) == {0: LOST}
    assert wire.said == said
