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
from carillon.kit.broker.port import OUTCOMES, REASON_HEADER, Broker, DeadLetter, Delivery, Done, Outcome
from carillon.kit.telemetry.metrics import MESSAGES, QUEUE_WAIT
from carillon.kit.telemetry.tracing import TRACEPARENT

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
        self._counts = {kind: MESSAGES.labels(service, self._queue, word) for kind, word in OUTCOMES.items()}
        self._wait = QUEUE_WAIT.labels(service, self._queue)

    async def run(self) -> None:
        await self._broker.consume(self._queue, self.handle, size=self._size, in_flight=self._in_flight)

    async def handle(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        """One outcome per delivery, in order."""
        began = time.monotonic()
        read = [self._read(delivery) for delivery in deliveries]
        works = [work for work in read if isinstance(work, Work)]
        self._note_wait(works)
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
            headers.get(TRACEPARENT),
        )

    def _account(self, outcomes: Sequence[Outcome], seconds: float) -> None:
        counts = Counter(type(outcome) for outcome in outcomes)
        for kind, count in counts.items():
            self._counts[kind].inc(count)
        level = _log.debug if counts[Done] == len(outcomes) else _log.info
        told = {OUTCOMES[kind]: count for kind, count in counts.items()}
        level("batch_delivered", queue=self._queue, milliseconds=round(seconds * 1000), **told)

    def _note_wait(self, works: Sequence[Work]) -> None:
        """One observation a batch: what the hot path can afford."""
        due = [work.request.due_at for work in works if not work.seen_before]
        if due:
            self._wait.observe(max(0.0, (self._tools.now() - min(due)).total_seconds()))
