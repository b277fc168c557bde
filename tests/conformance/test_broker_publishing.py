"""What publish promises: once it returned the messages are durable, and what is not is told."""

import asyncio
import time
from uuid import UUID

import pytest

from carillon.kit.broker.open import open_broker
from carillon.kit.broker.port import BrokerError, BrokerUnavailable, Message, PublishFailed, Tuning
from tests.support.brokers import Ground, Inbox, consuming, fresh_topology
from tests.support.processes import free_port
from tests.support.waiting import eventually


async def test_headers_body_and_id_arrive_as_they_were_published(ground: Ground) -> None:
    message = Message(ground.work, b"\x00\xff body", {"x-correlation-id": "c-1", "über": "größe"})
    inbox = Inbox()

    async with ground.open() as broker, consuming(broker, ground.work, inbox):
        await broker.publish([message])
        await eventually(lambda: inbox.deliveries)

    (delivery,) = inbox.deliveries
    assert (delivery.queue, delivery.body, delivery.message_id) == (ground.work, message.body, message.message_id)
    assert delivery.headers == message.headers
    assert (delivery.redelivered, delivery.delivery_count) == (False, 0)


async def test_a_batch_survives_kill_9_of_the_server_after_publish_returned(ground: Ground) -> None:
    messages = [Message(ground.work, b"%d" % number, {"n": str(number)}) for number in range(500)]
    async with ground.open() as broker:
        await broker.publish(messages)
    ground.server.kill()
    ground.server.start()

    inbox = Inbox()
    async with ground.open() as broker, consuming(broker, ground.work, inbox, size=50):
        await eventually(lambda: len(inbox.deliveries) >= len(messages), within=30)

    assert {d.message_id for d in inbox.deliveries} == {m.message_id for m in messages}
    assert all(d.headers == {"n": d.body.decode()} for d in inbox.deliveries)


async def test_nothing_is_lost_that_publish_returned_for_when_the_server_is_killed_meanwhile(ground: Ground) -> None:
    durable: set[UUID] = set()
    failures: list[BrokerError] = []

    async def publish_until_it_fails() -> None:
        async with ground.open() as broker:
            while not failures:
                messages = [Message(ground.work, b"x" * 200) for _ in range(200)]
                try:
                    await broker.publish(messages)
                except PublishFailed as error:
                    failures.append(error)
                    durable.update({m.message_id for m in messages} - {m.message_id for m in error.failed})
                except BrokerUnavailable as error:
                    failures.append(error)
                else:
                    durable.update(m.message_id for m in messages)

    publishing = asyncio.create_task(publish_until_it_fails())
    await eventually(lambda: len(durable) >= 1_000, within=30)
    await asyncio.to_thread(ground.server.kill)
    await asyncio.wait_for(publishing, 30)
    await asyncio.to_thread(ground.server.start)

    inbox = Inbox()
    async with ground.open() as broker, consuming(broker, ground.work, inbox, size=200, in_flight=4):
        await eventually(lambda: durable <= {d.message_id for d in inbox.deliveries}, within=30, says="all durable")
    assert failures


async def test_a_message_for_a_queue_nobody_has_is_a_failure_and_its_neighbours_arrive(ground: Ground) -> None:
    lost = Message("nobody.queue", b"lost")
    inbox = Inbox()

    async with ground.open() as broker:
        with pytest.raises(PublishFailed, match=r"nobody\.queue") as failure:
            await broker.publish([Message(ground.work, b"1"), lost, Message(ground.work, b"2")])
        async with consuming(broker, ground.work, inbox):
            await eventually(lambda: len(inbox.deliveries) == 2)

    assert failure.value.failed == (lost,)
    assert inbox.bodies == [b"1", b"2"]


async def test_two_lost_messages_with_one_id_are_both_failures(ground: Ground) -> None:
    lost = Message("nobody.queue", b"lost")

    async with ground.open() as broker:
        with pytest.raises(PublishFailed) as failure:
            await broker.publish([lost, lost])

    assert failure.value.failed == (lost, lost)


async def test_a_message_published_twice_arrives_twice_under_its_one_id(ground: Ground) -> None:
    message = Message(ground.work, b"again")
    inbox = Inbox()

    async with ground.open() as broker, consuming(broker, ground.work, inbox):
        await broker.publish([message, message])
        await eventually(lambda: len(inbox.deliveries) == 2)

    assert {delivery.message_id for delivery in inbox.deliveries} == {message.message_id}


async def test_publishing_nothing_returns(ground: Ground) -> None:
    async with ground.open() as broker:
        await broker.publish([])


async def test_a_large_body_arrives_whole(ground: Ground) -> None:
    body = bytes(range(256)) * 4096  # 1 MiB, more than one frame
    inbox = Inbox()

    async with ground.open() as broker, consuming(broker, ground.work, inbox):
        await broker.publish([Message(ground.work, body), Message(ground.work, b"")])
        await eventually(lambda: len(inbox.deliveries) == 2)

    assert inbox.bodies == [b"", body]


@pytest.mark.parametrize("scheme", ["postgresql", "amqp"])
async def test_opening_without_a_server_succeeds_and_every_use_says_unavailable_in_time(scheme: str) -> None:
    url = f"{scheme}://nobody:secret@127.0.0.1:{free_port()}/none"
    topology = fresh_topology()
    started = time.monotonic()

    async with open_broker(url, topology, name="test", tuning=Tuning(connect_timeout=0.5)) as broker:
        with pytest.raises(BrokerUnavailable):
            await broker.publish([Message(topology.queues[0], b"")])
        with pytest.raises(BrokerUnavailable):
            await broker.ping()
        with pytest.raises(BrokerUnavailable) as error:
            await broker.announce("topic", b"")
        with pytest.raises(BrokerUnavailable):
            await broker.depths()

    assert time.monotonic() - started < 20  # a bound on hanging, not a measure of speed
    assert "secret" not in str(error.value)


async def test_a_url_of_an_unknown_broker_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"postgresql://, amqp:// or amqps://, not 'redis'"):
        async with open_broker("redis://127.0.0.1", fresh_topology(), name="test"):
            pass


async def test_consuming_a_queue_the_topology_does_not_have_is_refused(ground: Ground) -> None:
    async with ground.open() as broker:
        with pytest.raises(ValueError, match=r"no queue 'nobody\.queue'"):
            await broker.consume("nobody.queue", Inbox(), size=1, in_flight=1)
