"""The broker port on RabbitMQ."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import structlog
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel

from carillon.kit.broker.batches import BackOff
from carillon.kit.broker.events import EventQueue
from carillon.kit.broker.port import (
    Announced,
    BrokerUnavailable,
    Event,
    Handler,
    LinkLost,
    Message,
    PublishFailed,
    QueueDepth,
    Reconnected,
    Topology,
    Tuning,
)
from carillon.kit.broker.rabbitmq.consuming import Consumer
from carillon.kit.broker.rabbitmq.link import CLOSE_TIMEOUT, TROUBLE, Link, Session
from carillon.kit.broker.rabbitmq.publishing import NO_QUEUE, Parcel

log = structlog.get_logger(__name__)


class RabbitBroker:
    """Shared by all tasks of one event loop; made by `open_rabbitmq`."""

    def __init__(self, link: Link, topology: Topology, tuning: Tuning) -> None:
        self._link = link
        self._topology = topology
        self._tuning = tuning
        self._consumers: set[Consumer] = set()

    async def publish(self, messages: Sequence[Message]) -> None:
        if not messages:
            return
        session = await self._session()
        now = datetime.now(UTC)
        parcels = [
            Parcel(
                self._topology.exchange,
                message.queue,
                message.body,
                message.headers,
                message.message_id,
                now,
            )
            for message in messages
        ]
        failures = await session.publisher.publish(parcels, within=self._tuning.publish_timeout)
        if failures:
            failed = [messages[position] for position in sorted(failures)]
            self._declare_what_is_missing(session, failed, failures.values())
            raise PublishFailed(failed, "; ".join(sorted(set(failures.values()))))

    def _declare_what_is_missing(self, session: Session, failed: Sequence[Message], reasons: Iterable[str]) -> None:
        """Connect anew, which declares, when somebody has deleted one of the topology's queues."""
        if NO_QUEUE in reasons and any(message.queue in self._topology.all_queues for message in failed):
            log.warning("broker_queue_missing", queues=sorted({message.queue for message in failed}))
            session.lost.set()

    async def consume(self, queue: str, handle: Handler, *, size: int, in_flight: int) -> None:
        if queue not in self._topology.all_queues:
            raise ValueError(f"the topology has no queue {queue!r}, only {', '.join(self._topology.all_queues)}")
        consumer = Consumer(
            queue,
            handle,
            size=size,
            in_flight=in_flight,
            link=self._link,
            topology=self._topology,
            tuning=self._tuning,
        )
        self._consumers.add(consumer)
        try:
            await consumer.run()
        finally:
            self._consumers.discard(consumer)

    async def announce(self, topic: str, body: bytes) -> None:
        session = await self._session()
        parcel = Parcel(self._topology.topics_exchange, topic, body)
        failures = await session.publisher.publish([parcel], within=self._tuning.publish_timeout)
        if failures:
            raise BrokerUnavailable(f"the announcement was not handed over: {failures[0]}")

    @asynccontextmanager
    async def subscribe(self, topic: str) -> AsyncIterator[AsyncIterator[Event]]:
        events = EventQueue()
        listening = asyncio.create_task(self._listen(topic, events), name=f"listen to {topic}")
        try:
            yield events
        finally:
            listening.cancel()
            await asyncio.wait([listening], timeout=CLOSE_TIMEOUT)

    async def _listen(self, topic: str, events: EventQueue) -> None:
        back_off = BackOff()
        while True:
            session = await self._link.next_session()
            try:
                await self._listen_once(session, topic, events)
                back_off.reset()
            except TROUBLE as error:
                log.warning("broker_subscription_lost", topic=topic, error=type(error).__name__)
            await back_off.pause()

    async def _listen_once(self, session: Session, topic: str, events: EventQueue) -> None:
        timeout = self._tuning.connect_timeout
        lost = asyncio.Event()

        async def receive(message: DeliveredMessage) -> None:
            events.put(Announced(topic, message.body))

        async with session.channel(within=timeout) as channel:
            channel.closing.add_done_callback(lambda _: lost.set())
            queue = str((await channel.queue_declare(exclusive=True, auto_delete=True, timeout=timeout)).queue)
            await channel.queue_bind(queue, self._topology.topics_exchange, routing_key=topic, timeout=timeout)
            await channel.basic_consume(queue, receive, no_ack=True, timeout=timeout)
            events.put(Reconnected())
            try:
                await self._until_lost(channel, queue, lost)
            finally:
                events.put(LinkLost())  # before the closing, which may take its time

    async def _until_lost(self, channel: Channel, queue: str, lost: asyncio.Event) -> None:
        heartbeat = self._tuning.heartbeat
        while not lost.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(heartbeat):
                    await lost.wait()
            if not lost.is_set():  # a connection may have died without a word, and somebody may delete the queue
                await channel.queue_declare(queue, passive=True, timeout=heartbeat)

    async def depths(self) -> Mapping[str, QueueDepth]:
        ready = await self._ready(self._topology.all_queues)
        return {queue: QueueDepth(count, self._unsettled(queue), None, None) for queue, count in ready.items()}

    async def lengths(self, queues: Sequence[str], *, most: int) -> Mapping[str, int]:
        return {queue: min(count, most) for queue, count in (await self._ready(queues)).items()}

    async def _ready(self, queues: Sequence[str]) -> dict[str, int]:
        session = await self._session_now()
        timeout = self._tuning.connect_timeout
        ready: dict[str, int] = {}
        try:
            async with session.channel(within=timeout) as channel:
                for queue in queues:
                    declared = await channel.queue_declare(queue, passive=True, timeout=timeout)
                    ready[queue] = declared.message_count or 0
        except TROUBLE as error:
            raise BrokerUnavailable(f"RabbitMQ does not tell its depths: {error}") from error
        return ready

    def _unsettled(self, queue: str) -> int:
        return sum(consumer.unsettled for consumer in self._consumers if consumer.queue == queue)

    async def ping(self) -> None:
        session = await self._session_now()
        try:
            async with session.channel(within=self._tuning.connect_timeout):
                return
        except TROUBLE as error:
            raise BrokerUnavailable(f"RabbitMQ does not answer: {error}") from error

    async def _session_now(self) -> Session:
        """Return the session; while the link is known to be down, say so at once: a health check must not wait."""
        if (trouble := self._link.trouble) is not None:
            raise trouble
        return await self._session()

    async def _session(self) -> Session:
        """Return the session, waiting for one for as long as a connection may take."""
        return await self._link.session(within=self._tuning.connect_timeout)


@asynccontextmanager
async def open_rabbitmq(url: str, topology: Topology, *, name: str, tuning: Tuning) -> AsyncIterator[RabbitBroker]:
    """Open a link that connects in the background, so that a server that is away does not stop the opening."""
    # aiormq logs whole messages and tracebacks; what matters of them is logged here, without bodies.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    link = Link(url, topology, name=name, tuning=tuning)
    keeping = asyncio.create_task(link.keep_up(), name="keep up the RabbitMQ connection")
    try:
        yield RabbitBroker(link, topology, tuning)
    finally:
        keeping.cancel()
        await asyncio.wait([keeping], timeout=2 * CLOSE_TIMEOUT)
