"""What goes on by itself when the server was restarted, and what subscribers hear of it."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Sequence

import pytest

from carillon.kit.broker.port import (
    Announced,
    Broker,
    BrokerError,
    BrokerUnavailable,
    Delivery,
    Done,
    Event,
    LinkLost,
    Message,
    Outcome,
    Reconnected,
)
from tests.support.brokers import BRISK, Ground, Inbox, consuming
from tests.support.proxy import proxy_to
from tests.support.waiting import eventually


async def publish_when_it_can(broker: Broker, messages: Sequence[Message]) -> bool:
    try:
        await broker.publish(messages)
    except BrokerError:
        return False
    return True


async def test_consumer_and_publisher_go_on_after_the_server_was_restarted(ground: Ground) -> None:
    inbox = Inbox()

    async with ground.open() as broker, consuming(broker, ground.work, inbox) as consumer:
        await broker.publish([Message(ground.work, b"before")])
        await eventually(lambda: b"before" in inbox.bodies)

        await asyncio.to_thread(ground.server.restart)

        after = [Message(ground.work, b"after")]
        await eventually(lambda: publish_when_it_can(broker, after), within=30)
        await eventually(lambda: b"after" in inbox.bodies, within=30)
        assert not consumer.done()


async def test_while_the_server_is_away_every_use_says_so_and_the_consumer_waits(ground: Ground) -> None:
    async with ground.open() as broker, consuming(broker, ground.work, Inbox()) as consumer:
        await broker.publish([Message(ground.work, b"")])
        await asyncio.to_thread(ground.server.stop)
        try:
            with pytest.raises(BrokerError):
                await asyncio.wait_for(broker.publish([Message(ground.work, b"")]), 20)
            with pytest.raises(BrokerUnavailable):
                await asyncio.wait_for(broker.ping(), 20)
            assert not consumer.done()
        finally:
            await asyncio.to_thread(ground.server.start)
        await eventually(lambda: publish_when_it_can(broker, [Message(ground.work, b"")]), within=30)


async def test_a_batch_in_hand_while_the_server_restarts_is_not_lost(ground: Ground) -> None:
    started, finish = asyncio.Event(), asyncio.Event()
    handled: list[bytes] = []

    async def handle(batch: Sequence[Delivery]) -> Sequence[Outcome]:
        started.set()
        await finish.wait()
        handled.extend(delivery.body for delivery in batch)
        return [Done() for _ in batch]

    async with ground.open() as broker, consuming(broker, ground.work, handle):
        await broker.publish([Message(ground.work, b"in hand")])
        await asyncio.wait_for(started.wait(), 10)
        await asyncio.to_thread(ground.server.kill)
        await asyncio.to_thread(ground.server.start)
        finish.set()
        await eventually(lambda: _is_empty(broker, ground.work), within=40, says="settled or handed out again")

    assert set(handled) == {b"in hand"}


async def _is_empty(broker: Broker, queue: str) -> bool:
    try:
        depth = (await broker.depths())[queue]
    except BrokerUnavailable:
        return False
    return depth.ready == 0 and depth.in_flight == 0


async def test_a_subscriber_hears_reconnected_then_events_and_reconnected_again_after_a_restart(ground: Ground) -> None:
    async with ground.open() as broker, broker.subscribe("user.changed") as events:
        assert await anext_within(events) == Reconnected()
        await broker.announce("user.changed", b"\x00 one")
        assert await anext_within(events) == Announced("user.changed", b"\x00 one")

        await asyncio.to_thread(ground.server.restart)

        assert await anext_within(events) == LinkLost()
        assert await anext_within(events) == Reconnected()
        await eventually(lambda: announced(broker, b"two"), within=20)
        assert await anext_within(events) == Announced("user.changed", b"two")


@pytest.mark.parametrize("how", ["cut", "silence"])
async def test_a_subscriber_hears_that_its_link_is_lost_also_when_it_dies_without_a_word(
    ground: Ground, how: str
) -> None:
    quick = dataclasses.replace(BRISK, heartbeat=0.5)
    async with (
        proxy_to(ground.url) as proxy,
        ground.open(quick, url=proxy.in_front_of(ground.url)) as broker,
        ground.open() as elsewhere,
        broker.subscribe("user.changed") as events,
    ):
        assert await anext_within(events) == Reconnected()
        proxy.cut() if how == "cut" else proxy.silence()

        assert await anext_within(events, 10) == LinkLost()
        await elsewhere.announce("user.changed", b"missed")

        proxy.restore()
        assert await anext_within(events) == Reconnected(), "one loss, one return, and nothing in between"
        await elsewhere.announce("user.changed", b"heard")
        assert await anext_within(events) == Announced("user.changed", b"heard")


async def announced(broker: Broker, body: bytes) -> bool:
    try:
        await broker.announce("user.changed", body)
    except BrokerUnavailable:
        return False
    return True


async def anext_within(events: AsyncIterator[Event], seconds: float = 30) -> Event:
    return await asyncio.wait_for(anext(events), seconds)


async def test_every_subscriber_of_a_topic_hears_it_and_no_other_topic(ground: Ground) -> None:
    async with (
        ground.open() as one,
        ground.open() as two,
        one.subscribe("user.changed") as first,
        two.subscribe("user.changed") as second,
        two.subscribe("user.erased") as other,
    ):
        for events in (first, second, other):
            assert await anext_within(events) == Reconnected()

        await one.announce("user.changed", b"1")
        await one.announce("user.erased", b"2")

        assert await anext_within(first) == Announced("user.changed", b"1")
        assert await anext_within(second) == Announced("user.changed", b"1")
        assert await anext_within(other) == Announced("user.erased", b"2")


async def test_an_announcement_nobody_listens_to_is_no_failure(ground: Ground) -> None:
    async with ground.open() as broker:
        await broker.announce("user.changed", b"")


async def test_a_subscriber_that_left_hears_nothing_and_leaves_nothing_behind(ground: Ground) -> None:
    async with ground.open() as broker:
        async with broker.subscribe("user.changed") as events:
            assert await anext_within(events) == Reconnected()
        await broker.announce("user.changed", b"late")
        async with broker.subscribe("user.changed") as events:
            assert await anext_within(events) == Reconnected()
            await broker.announce("user.changed", b"new")
            assert await anext_within(events) == Announced("user.changed", b"new")
