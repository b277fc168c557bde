"""Telling the gateway: reports that arise at the same time share a message, and are durable before anybody goes on."""

from collections.abc import Sequence

import msgspec

from carillon.contracts.channels import STATUS_QUEUE
from carillon.contracts.messages import DeliveriesReported, DeliveryReported
from carillon.kit.broker.port import Broker, Message
from carillon.kit.telemetry.metrics import PUBLISHED

_GROUP = 100


class ReportPublisher:
    """The flush of a coalescer: up to 100 reports a message, all of them confirmed by one publish."""

    def __init__(self, broker: Broker, *, service: str) -> None:
        self._broker = broker
        self._encoder = msgspec.json.Encoder()
        self._published = PUBLISHED.labels(service, STATUS_QUEUE)

    async def __call__(self, reports: Sequence[DeliveryReported]) -> Sequence[None]:
        """Raises BrokerError when not all are known to be durable; repeating them is harmless."""
        groups = [reports[start : start + _GROUP] for start in range(0, len(reports), _GROUP)]
        messages = [Message(STATUS_QUEUE, self._encoder.encode(DeliveriesReported(list(group)))) for group in groups]
        await self._broker.publish(messages)
        self._published.inc(len(messages))
        return [None] * len(reports)
