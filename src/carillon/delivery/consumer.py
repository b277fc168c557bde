"""A lane's messages: decode, deliver, answer with one outcome each; what cannot be read is a dead letter."""

import time
from collections import Counter
from collections.abc import Sequence

import msgspec
import structlog

from carillon.contracts.channels import Lane, queue_of
from carillon.contracts.messages import DeliveryRequested
from carillon.delivery import crashes, last_words
from carillon.delivery.actions.deliver import deliver
from carillon.delivery.actions.tools import Tools, Work
from carillon.kit.broker.port import REASON_HEADER, Broker, DeadLetter, Delivery, Done, Outcome
from carillon.kit.telemetry.metrics import MESSAGES

_log = structlog.get_logger()
_LARGEST_GENERATION = 2**31 - 1


class LaneConsumer:
    """Consumes one lane of the channel until cancelled; a cancelled one finishes what it has in hand."""

    def __init__(self, broker: Broker, tools: Tools, *, service: str, lane: Lane, size: int, in_flight: int) -> None:
        self._broker = broker
        self._tools = tools
        self._lane: Lane = lane
        self._size = size
        self._in_flight = in_flight
        self._queue = queue_of(tools.channel.name, lane)
        self._decoder = msgspec.json.Decoder(DeliveryRequested)
        self._counts = {
            outcome: MESSAGES.labels(service, self._queue, outcome) for outcome in ("Done", "RetryAfter", "DeadLetter")
        }

    async def run(self) -> None:
        await self._broker.consume(self._queue, self.handle, size=self._size, in_flight=self._in_flight)

    async def handle(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        """One outcome per delivery, in order."""
        began = time.monotonic()
        read = [self._read(delivery) for delivery in deliveries]
        works = [work for work in read if isinstance(work, Work)]
        ended = iter(await deliver(works, self._tools) if works else ())
        outcomes = [next(ended) if isinstance(work, Work) else work for work in read]
        self._account(outcomes, time.monotonic() - began)
        return outcomes

    def _read(self, delivery: Delivery) -> Work | DeadLetter:
        try:
            request = self._decoder.decode(delivery.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            _log.error("message_undecodable", queue=self._queue, message_id=str(delivery.message_id))
            return DeadLetter("undecodable")
        if not 0 <= request.generation <= _LARGEST_GENERATION:
            return DeadLetter("undecodable")
        if request.channel != self._tools.channel.name:
            _log.error("message_of_another_channel", queue=self._queue, channel=request.channel)
            return DeadLetter("wrong_channel")
        headers = delivery.headers
        return Work(
            request,
            self._lane,
            delivery.delivery_count,
            headers.get(REASON_HEADER),
            crashes.counted(headers),
            last_words.first_error(headers),
        )

    def _account(self, outcomes: Sequence[Outcome], seconds: float) -> None:
        counts = Counter(type(outcome).__name__ for outcome in outcomes)
        for outcome, count in counts.items():
            self._counts[outcome].inc(count)
        level = _log.debug if counts[Done.__name__] == len(outcomes) else _log.info
        level("batch_delivered", queue=self._queue, milliseconds=round(seconds * 1000), **counts)
