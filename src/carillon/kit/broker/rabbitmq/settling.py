"""One batch of a RabbitMQ channel from the handler to its settlement: what moves is confirmed first, then acked."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog
from aiormq.channel import Channel

from carillon.kit.broker import notes
from carillon.kit.broker.batches import outcomes_of
from carillon.kit.broker.port import DeadLetter, Delivery, Done, Handler, RetryAfter, Topology, Tuning
from carillon.kit.broker.rabbitmq import frames, ladder, wire
from carillon.kit.broker.rabbitmq.link import Session
from carillon.kit.broker.rabbitmq.publishing import Parcel
from carillon.kit.broker.rabbitmq.tags import Tags

log = structlog.get_logger(__name__)


class Hand:
    """What one consumer holds of one channel. When the channel is gone its outcomes are dropped: all comes again."""

    def __init__(
        self,
        queue: str,
        session: Session,
        channel: Channel,
        topology: Topology,
        tuning: Tuning,
    ) -> None:
        self.tags = Tags()
        self._queue = queue
        self._session = session
        self._channel = channel
        self._number = channel.number
        self._topology = topology
        self._tuning = tuning
        self._shut = False

    def shut(self) -> None:
        """Write nothing more: the answer to the channel's closing is the last word on it, and the library's."""
        self._shut = True

    async def work(self, messages: Sequence[wire.Arrived], handle: Handler) -> None:
        """Handle and settle; an abandoned batch goes back to the queue."""
        tags = [message.tag for message in messages]
        try:
            await self._handle(messages, tags, handle)
        except asyncio.CancelledError:
            self.requeue(tags)
            raise

    async def _handle(self, messages: Sequence[wire.Arrived], tags: Sequence[int], handle: Handler) -> None:
        deliveries = [wire.delivery(message, self._queue, self._topology) for message in messages]
        outcomes = await outcomes_of(handle, deliveries)
        if self._gone():
            log.warning("broker_outcomes_dropped", queue=self._queue, deliveries=len(messages))
            return
        if outcomes is None:
            await self._rest_and_requeue(tags)
            return
        moves = {
            tag: self._parcel(message, delivery, outcome)
            for tag, message, delivery, outcome in zip(tags, messages, deliveries, outcomes, strict=True)
            if not isinstance(outcome, Done)
        }
        stuck = await self._move(moves) if moves else []
        self._ack([tag for tag in tags if tag not in stuck])
        if stuck:
            await self._rest_and_requeue(stuck)

    async def _move(self, moves: dict[int, Parcel]) -> list[int]:
        """Publish what moves to a rung or to the dead letters; returns the tags that could not be moved."""
        failures = await self._session.publisher.publish(list(moves.values()), within=self._tuning.publish_timeout)
        tags = list(moves)
        if failures:
            reasons = sorted(set(failures.values()))
            log.warning("broker_move_failed", queue=self._queue, deliveries=len(failures), reasons=reasons)
        return [tags[position] for position in failures]

    def _parcel(self, message: wire.Arrived, delivery: Delivery, outcome: RetryAfter | DeadLetter) -> Parcel:
        published = wire.published_at(message)
        buried = isinstance(outcome, DeadLetter)
        if buried and self._queue != self._topology.dead_letter_queue:
            exchange, routing_key = self._topology.exchange, self._topology.dead_letter_queue
            headers = notes.dead(
                delivery.headers,
                reason=outcome.reason,
                queue=self._queue,
                published_at=published,
                now=datetime.now(UTC),
                more=outcome.headers,
            )
        else:  # there is no grave beyond the dead letters: one that dies again rests on the longest rung
            delays = self._topology.retry_delays
            delay = delays[-1] if isinstance(outcome, DeadLetter) else ladder.rung(delays, outcome.delay)
            exchange, routing_key = ladder.rung_name(self._topology.retry_exchange, delay), self._queue
            headers = notes.retried(delivery.headers, reason=outcome.reason, more=outcome.headers)
        return Parcel(exchange, routing_key, delivery.body, headers, delivery.message_id, published)

    def _ack(self, tags: Sequence[int]) -> None:
        acks = self.tags.acks(tags)
        said = [] if acks.multiple is None else [frames.ack(self._number, acks.multiple, multiple=True)]
        self._say(said + [frames.ack(self._number, tag) for tag in acks.singles])

    async def _rest_and_requeue(self, tags: Sequence[int]) -> None:
        await asyncio.sleep(self._tuning.redelivery_delay)
        self.requeue(tags)

    def requeue(self, tags: Sequence[int]) -> None:
        """Give back to the queue, which counts it as a delivery and buries what exceeds the limit."""
        self._say([frames.requeue(self._number, tag) for tag in self.tags.take(tags)])

    def _say(self, said: Sequence[bytes]) -> None:
        """All in one write. When the channel is gone all of it comes again."""
        if said and not self._gone():
            self._session.tap.write(b"".join(said))

    def _gone(self) -> bool:
        return self._shut or self._channel.is_closed or self._session.lost.is_set()
