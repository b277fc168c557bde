"""What only the RabbitMQ adapter can get wrong: declarations, rungs, and the order of moving and acknowledging."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import aiormq
import pytest
from aiormq.abc import AbstractChannel

from carillon.kit.broker.port import (
    Broker,
    BrokerError,
    DeadLetter,
    Delivery,
    Done,
    Message,
    Outcome,
    RetryAfter,
    TopologyMismatch,
)
from carillon.kit.broker.rabbitmq import ladder
from tests.support.brokers import Ground, Inbox, consuming
from tests.support.waiting import eventually


@asynccontextmanager
async def channel_to(ground: Ground) -> AsyncIterator[AbstractChannel]:
    connection = await aiormq.connect(ground.url)
    try:
        yield await connection.channel()
    finally:
        await connection.close()


async def test_a_queue_with_other_properties_is_a_clear_error(rabbitmq: Ground) -> None:
    async with rabbitmq.open() as broker:
        await broker.ping()
    other = replace(rabbitmq, topology=replace(rabbitmq.topology, delivery_limit=9))

    async with other.open() as broker:
        for _ in range(2):  # the first waits for the link, the second knows already
            with pytest.raises(TopologyMismatch, match="delete it, or choose another name"):
                await broker.ping()


async def test_declaring_again_changes_nothing(rabbitmq: Ground) -> None:
    async with rabbitmq.open() as one, rabbitmq.open() as two:
        await one.ping()
        await two.ping()


async def test_a_retry_that_cannot_be_published_leaves_the_message_in_its_queue(rabbitmq: Ground) -> None:
    """With the rung gone the publish fails; acknowledging first would have lost the message."""
    topology = rabbitmq.topology
    calls: list[bool] = []

    async def handle(batch: Sequence[Delivery]) -> Sequence[Outcome]:
        calls.append(batch[0].redelivered)
        return [RetryAfter(0.1, "later") if len(calls) == 1 else Done() for _ in batch]

    async with rabbitmq.open() as broker:
        await broker.ping()
        async with channel_to(rabbitmq) as channel:
            await channel.exchange_delete(ladder.rung_name(topology.retry_exchange, topology.retry_delays[0]))
        async with consuming(broker, rabbitmq.work, handle):
            await broker.publish([Message(rabbitmq.work, b"keep me")])
            await eventually(lambda: len(calls) == 2, within=20)

    assert calls == [False, True]


async def test_a_rung_without_its_queue_returns_the_retry_and_the_message_stays(rabbitmq: Ground) -> None:
    """A returned message is confirmed all the same: only `mandatory` tells."""
    topology = rabbitmq.topology
    rung = ladder.rung_name(topology.retry_exchange, topology.retry_delays[0])
    calls: list[bool] = []

    async def handle(batch: Sequence[Delivery]) -> Sequence[Outcome]:
        calls.append(batch[0].redelivered)
        return [RetryAfter(0.1, "later") if len(calls) == 1 else Done() for _ in batch]

    async with rabbitmq.open() as broker:
        await broker.ping()
        async with channel_to(rabbitmq) as channel:
            await channel.queue_unbind(rung, rung)
        async with consuming(broker, rabbitmq.work, handle):
            await broker.publish([Message(rabbitmq.work, b"keep me")])
            await eventually(lambda: len(calls) == 2, within=20)

    assert calls == [False, True]


async def test_a_queue_deleted_under_a_consumer_is_declared_anew_and_consumed(rabbitmq: Ground) -> None:
    inbox = Inbox()

    async with rabbitmq.open() as broker, consuming(broker, rabbitmq.dead, inbox):
        await broker.publish([Message(rabbitmq.dead, b"before")])
        await eventually(lambda: inbox.bodies == [b"before"])
        async with channel_to(rabbitmq) as channel:
            await channel.queue_delete(rabbitmq.dead)
        await eventually(lambda: _published(broker, rabbitmq.dead), within=20)
        await eventually(lambda: b"after" in inbox.bodies, within=20)


async def test_a_publish_for_a_queue_that_was_deleted_fails_and_declares_it_anew(rabbitmq: Ground) -> None:
    async with rabbitmq.open() as broker:
        await broker.ping()
        async with channel_to(rabbitmq) as channel:
            await channel.queue_delete(rabbitmq.dead)
        with pytest.raises(BrokerError):
            await broker.publish([Message(rabbitmq.dead, b"lost")])

        await eventually(lambda: _published(broker, rabbitmq.dead), within=20)


async def _published(broker: Broker, queue: str) -> bool:
    try:
        await broker.publish([Message(queue, b"after")])
    except BrokerError:
        return False
    return True


async def test_a_message_of_another_program_is_delivered_with_a_stable_id(rabbitmq: Ground) -> None:
    inbox = Inbox(lambda d: DeadLetter("foreign") if not d.delivery_count else Done())
    grave = Inbox()

    async with rabbitmq.open() as broker:
        await broker.ping()
        async with channel_to(rabbitmq) as channel:
            properties = aiormq.spec.Basic.Properties(message_id="order 7", headers={"n": 7})
            await channel.basic_publish(b"foreign", routing_key=rabbitmq.work, properties=properties)
        async with consuming(broker, rabbitmq.work, inbox), consuming(broker, rabbitmq.dead, grave):
            await eventually(lambda: grave.deliveries)

    assert inbox.deliveries[0].headers == {"n": "7"}
    assert grave.deliveries[0].message_id == inbox.deliveries[0].message_id
