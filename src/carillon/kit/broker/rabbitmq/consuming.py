"""A consumer on RabbitMQ: one channel with a prefetch, opened anew whenever it is lost, drained when cancelled."""

import asyncio
from collections import deque
from contextlib import suppress

import structlog
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel

from carillon.kit.broker.batches import BackOff, Batches, asked_to_stop
from carillon.kit.broker.port import Handler, Topology, Tuning
from carillon.kit.broker.rabbitmq import frames
from carillon.kit.broker.rabbitmq.link import CLOSE_TIMEOUT, TROUBLE, Link, Session
from carillon.kit.broker.rabbitmq.settling import Hand
from carillon.kit.broker.rabbitmq.tap import Contents
from carillon.kit.broker.rabbitmq.wire import Arrived

log = structlog.get_logger(__name__)

CONSUMER_TAG = "carillon"  # one consumer a channel
LARGEST_PREFETCH = 65_535
# A batch that was not full is followed by a breath, so that a trickle is taken in handfuls.
BREATH = 0.008


class Consumer:
    """Consumes one queue until cancelled, over as many connections as it takes."""

    def __init__(
        self,
        queue: str,
        handle: Handler,
        *,
        size: int,
        in_flight: int,
        link: Link,
        topology: Topology,
        tuning: Tuning,
    ) -> None:
        self.queue = queue
        self._handle = handle
        self._size = size
        self._prefetch = min(size * in_flight, LARGEST_PREFETCH)
        self._link = link
        self._topology = topology
        self._tuning = tuning
        self._batches = Batches(queue, limit=in_flight, drain_timeout=tuning.drain_timeout)
        self._hand: Hand | None = None

    @property
    def unsettled(self) -> int:
        """How many deliveries are in this process and not settled."""
        return len(self._hand.tags) if self._hand is not None else 0

    async def run(self) -> None:
        back_off = BackOff()
        try:
            while True:
                await self._batches.room()
                session = await self._link.next_session()
                try:
                    await self._consume(session, back_off)
                except TROUBLE as error:
                    log.warning("broker_consumer_lost", queue=self.queue, error=type(error).__name__)
                await back_off.pause()
        finally:
            await self._batches.drain()

    async def _consume(self, session: Session, back_off: BackOff) -> None:
        async with session.channel(within=self._tuning.connect_timeout) as channel:
            await channel.basic_qos(prefetch_count=self._prefetch, timeout=self._tuning.connect_timeout)
            hand = Hand(self.queue, session, channel, self._topology, self._tuning)
            arrivals = Arrivals(hand)
            session_lost = asyncio.create_task(session.lost.wait())
            session_lost.add_done_callback(lambda _: arrivals.end())
            channel.closing.add_done_callback(lambda _: arrivals.end())
            channel.on_consumer_cancel_callbacks.add(lambda _: session.lost.set())  # the queue is gone: declare anew
            self._hand = hand
            session.tap.take(channel.number, arrivals)
            try:
                await channel.basic_consume(
                    self.queue, _beside_the_tap, consumer_tag=CONSUMER_TAG, timeout=self._tuning.connect_timeout
                )
                back_off.reset()
                await self._start_batches(arrivals, hand)
            except asyncio.CancelledError:
                if asked_to_stop():
                    await self._stop(channel, arrivals, hand)
                raise
            finally:
                hand.shut()
                session_lost.cancel()
                self._hand = None

    async def _start_batches(self, arrivals: "Arrivals", hand: Hand) -> None:
        """Run until the channel is lost."""
        while True:
            await self._batches.room()
            messages = await arrivals.some(self._size)
            if not messages:
                return
            self._batches.start(hand.work(messages, self._handle))
            if len(messages) < self._size:
                await asyncio.sleep(BREATH)

    async def _stop(self, channel: Channel, arrivals: "Arrivals", hand: Hand) -> None:
        """Take no more, give back what no handler has seen, let the handlers finish while the channel is open."""
        with suppress(*TROUBLE):
            await channel.basic_cancel(CONSUMER_TAG, timeout=CLOSE_TIMEOUT)
        hand.requeue(arrivals.unread())
        await self._batches.drain()


class Arrivals(Contents):
    """What a channel has delivered and no batch has taken yet."""

    def __init__(self, hand: Hand) -> None:
        super().__init__()
        self._hand = hand
        self._messages: deque[Arrived] = deque()
        self._changed = asyncio.Event()
        self._ended = False

    def told(self, method: int, payload: bytes) -> bool:
        """Heard here and not when the library has answered: a frame behind its answer would cost the connection."""
        del payload
        if method == frames.CHANNEL_CLOSE:
            self._hand.shut()
            self.end()
        return False

    def complete(self, method: bytes, header: bytes, body: bytes) -> None:
        tag, redelivered = frames.delivered(method)
        self._hand.tags.delivered(tag)
        self._messages.append(Arrived(tag, redelivered, frames.properties_of(header), body))

    def read(self) -> None:
        self._changed.set()

    def end(self) -> None:
        self._ended = True
        self._changed.set()

    async def some(self, size: int) -> list[Arrived]:
        """Return up to `size` as soon as there is one; nothing when the channel is lost."""
        while not self._messages and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        if self._ended:
            return []
        return [self._messages.popleft() for _ in range(min(size, len(self._messages)))]

    def unread(self) -> list[int]:
        return [message.tag for message in self._messages]


async def _beside_the_tap(message: DeliveredMessage) -> None:
    """The library wants to be told whom to hand messages to; they never reach it."""
    raise AssertionError(message.delivery_tag)
