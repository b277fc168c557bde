"""What consume promises: bounded batches that never wait to fill, shared work, and a stop that loses nothing."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from uuid import UUID

import pytest

from carillon.kit.broker.port import Broker, Delivery, Done, Handler, Message, Outcome
from tests.support.brokers import BRISK, Ground, Inbox, consuming, line_of, slow_consumer
from tests.support.waiting import eventually


async def test_batches_are_bounded_in_size_and_in_number(ground: Ground) -> None:
    running = most = 0
    sizes: list[int] = []
    full = asyncio.Event()

    async def handle(batch: Sequence[Delivery]) -> Sequence[Outcome]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        sizes.append(len(batch))
        if running == 3:
            full.set()
        async with asyncio.timeout(20):
            await full.wait()
        await asyncio.sleep(0.01)  # in which a fourth would come
        running -= 1
        return [Done() for _ in batch]

    async with ground.open() as broker:
        await broker.publish([Message(ground.work, b"") for _ in range(200)])
        async with consuming(broker, ground.work, handle, size=7, in_flight=3):
            await eventually(lambda: sum(sizes) == 200)

    assert max(sizes) <= 7
    assert most == 3


async def test_a_batch_does_not_wait_to_be_filled(ground: Ground) -> None:
    inbox = Inbox()

    async with ground.open() as broker, consuming(broker, ground.work, inbox, size=1000):
        await broker.publish([Message(ground.work, b"alone")])
        await eventually(lambda: inbox.deliveries)

    assert [len(batch) for batch in inbox.batches] == [1]


async def test_a_consumer_that_started_first_receives_what_another_process_publishes(ground: Ground) -> None:
    inbox = Inbox()

    async with ground.open() as reader, ground.open() as writer, consuming(reader, ground.work, inbox):
        for number in range(5):
            await writer.publish([Message(ground.work, b"%d" % number)])
            await eventually(lambda: inbox.bodies[-1:] == [b"%d" % number])  # noqa: B023 - awaited in this turn


async def test_consumers_share_the_work_and_no_message_is_handled_twice(ground: Ground) -> None:
    handled: list[Counter[UUID]] = [Counter(), Counter()]

    def handler(mine: Counter[UUID]) -> Handler:
        async def handle(batch: Sequence[Delivery]) -> Sequence[Outcome]:
            mine.update(delivery.message_id for delivery in batch)
            await asyncio.sleep(0.005)
            return [Done() for _ in batch]

        return handle

    messages = [Message(ground.work, b"") for _ in range(1_000)]
    async with AsyncExitStack() as stack:
        brokers = [await stack.enter_async_context(ground.open()) for _ in handled]
        for broker, mine in zip(brokers, handled, strict=True):
            await stack.enter_async_context(consuming(broker, ground.work, handler(mine), size=5, in_flight=2))
        await brokers[0].publish(messages)
        await eventually(lambda: sum(mine.total() for mine in handled) >= len(messages), within=20)

    assert handled[0] + handled[1] == Counter(message.message_id for message in messages)
    assert all(mine.total() for mine in handled)


async def test_queues_do_not_mix(ground: Ground) -> None:
    work, other = Inbox(), Inbox()
    second = ground.topology.queues[1]

    async with (
        ground.open() as broker,
        consuming(broker, ground.work, work),
        consuming(broker, second, other),
    ):
        await broker.publish([Message(ground.work, b"work"), Message(second, b"other")])
        await eventually(lambda: work.deliveries and other.deliveries)

    assert (work.bodies, other.bodies) == ([b"work"], [b"other"])


async def test_a_cancelled_consumer_finishes_and_settles_what_it_has_in_hand(ground: Ground) -> None:
    started, finish = asyncio.Event(), asyncio.Event()
    handled: list[bytes] = []

    async def handle(batch: Sequence[Delivery]) -> Sequence[Outcome]:
        started.set()
        await finish.wait()
        handled.extend(delivery.body for delivery in batch)
        return [Done() for _ in batch]

    bodies = [b"%02d" % number for number in range(30)]
    async with ground.open() as broker:
        await broker.publish([Message(ground.work, body) for body in bodies])
        consumer = asyncio.create_task(broker.consume(ground.work, handle, size=5, in_flight=2))
        await asyncio.wait_for(started.wait(), 10)
        consumer.cancel()
        done, _ = await asyncio.wait([consumer], timeout=0.2)
        assert not done, "it must wait for its handlers"
        finish.set()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(consumer, 10)

        rest = Inbox()
        async with consuming(broker, ground.work, rest):
            await eventually(lambda: len(handled) + len(rest.deliveries) >= len(bodies))
            await eventually(lambda: _is_empty(broker, ground.work))

    assert handled
    assert sorted(handled + rest.bodies) == bodies, "each message was handled exactly once"


async def _is_empty(broker: Broker, queue: str) -> bool:
    depth = (await broker.depths())[queue]
    return depth.ready == 0 and depth.in_flight == 0


async def test_a_handler_that_never_ends_does_not_block_the_stop_and_its_batch_comes_again(ground: Ground) -> None:
    started = asyncio.Event()

    async def hangs(batch: Sequence[Delivery]) -> Sequence[Outcome]:
        started.set()
        await asyncio.Event().wait()
        return [Done() for _ in batch]

    inbox = Inbox()
    async with ground.open(replace(BRISK, drain_timeout=0.1)) as broker:
        await broker.publish([Message(ground.work, b"stuck")])
        consumer = asyncio.create_task(broker.consume(ground.work, hangs, size=5, in_flight=2))
        await asyncio.wait_for(started.wait(), 10)
        consumer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(consumer, 10)
        async with consuming(broker, ground.work, inbox):
            await eventually(lambda: inbox.deliveries)

    assert inbox.deliveries[0].redelivered
    assert inbox.deliveries[0].delivery_count == 1


async def test_what_a_consumer_killed_with_9_held_comes_to_another(ground: Ground) -> None:
    inbox = Inbox()

    async with ground.open() as broker, slow_consumer(ground) as process:
        await broker.publish([Message(ground.work, b"%d" % number) for number in range(5)])
        held = (await line_of(process))[1:]
        process.kill()
        await process.wait()
        async with consuming(broker, ground.work, inbox):
            await eventually(lambda: len(inbox.deliveries) == 5, within=20)

    assert held
    again = {delivery.body.decode() for delivery in inbox.deliveries if delivery.redelivered}
    assert set(held) <= again


async def test_depths_tell_what_is_ready_and_what_is_in_flight(ground: Ground) -> None:
    finish = asyncio.Event()

    async def handle(batch: Sequence[Delivery]) -> Sequence[Outcome]:
        await finish.wait()
        return [Done() for _ in batch]

    async with ground.open() as broker:
        await broker.publish([Message(ground.work, b"") for _ in range(7)])
        await eventually(lambda: _depth_is(broker, ground.work, ready=7, in_flight=0))
        async with consuming(broker, ground.work, handle, size=3, in_flight=1):
            await eventually(lambda: _depth_is(broker, ground.work, ready=4, in_flight=3))
            finish.set()
            await eventually(lambda: _depth_is(broker, ground.work, ready=0, in_flight=0))
        depths = await broker.depths()

    assert set(depths) == set(ground.topology.all_queues)


async def test_lengths_tell_what_is_ready_counted_to_a_bound(ground: Ground) -> None:
    async with ground.open() as broker, asyncio.timeout(30):
        await broker.publish([Message(ground.work, b"") for _ in range(7)])
        await eventually(lambda: _lengths_are(broker, {ground.work: 7}, most=10))

        assert await broker.lengths([ground.work], most=5) == {ground.work: 5}


async def _lengths_are(broker: Broker, lengths: dict[str, int], *, most: int) -> bool:
    return await broker.lengths(list(lengths), most=most) == lengths


async def _depth_is(broker: Broker, queue: str, *, ready: int, in_flight: int) -> bool:
    depth = (await broker.depths())[queue]
    return (depth.ready, depth.in_flight) == (ready, in_flight)


async def test_ping_returns_while_the_server_answers(ground: Ground) -> None:
    async with ground.open() as broker:
        await broker.ping()
