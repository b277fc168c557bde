"""What RabbitMQ hands out, as deliveries of ours; pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

from carillon.kit.broker import notes
from carillon.kit.broker.port import DELIVERY_LIMIT_REASON, Delivery, Topology
from carillon.kit.broker.rabbitmq.frames import Properties

BROKER_HEADERS = ("x-death", "x-delivery-count", "x-acquired-count", "x-first-death-", "x-last-death-", "x-opt-")
ID_LENGTH = 36


@dataclass(frozen=True, slots=True)
class Arrived:
    """One message as a channel has delivered it."""

    tag: int
    redelivered: bool
    properties: Properties
    body: bytes


def delivery(message: Arrived, queue: str, topology: Topology) -> Delivery:
    """Translate; a message that the broker itself has buried gets the headers our own dead letters carry."""
    raw: Mapping[str, Any] = message.properties.headers
    headers = {name: str(value) for name, value in raw.items() if not name.startswith(BROKER_HEADERS)}
    if queue == topology.dead_letter_queue:
        headers = _buried_by_broker(headers, raw, topology, published_at(message))
    counted = raw.get("x-delivery-count")  # a foreign message may say anything until the broker counts itself
    unanswered = counted if isinstance(counted, int) else 0
    return Delivery(
        queue=queue,
        body=message.body,
        headers=headers,
        message_id=_message_id(message.properties.message_id),
        redelivered=message.redelivered or unanswered > 0,
        delivery_count=unanswered + notes.retries_of(headers),
    )


def published_at(message: Arrived) -> datetime:
    """When the message was first published; now, for a foreign one that does not say."""
    return message.properties.timestamp or datetime.now(UTC)


def _buried_by_broker(
    headers: dict[str, str], raw: Mapping[str, Any], topology: Topology, published: datetime
) -> dict[str, str]:
    deaths = raw.get("x-death")
    last = deaths[0] if isinstance(deaths, list) and deaths else None
    if not isinstance(last, dict) or last.get("queue") not in topology.queues:
        return headers
    reason = str(last.get("reason", DELIVERY_LIMIT_REASON))
    died = last.get("time")
    now = died if isinstance(died, datetime) else datetime.now(UTC)
    return notes.dead(headers, reason=reason, queue=str(last["queue"]), published_at=published, now=now)


def _message_id(text: str | None) -> UUID:
    """Read our id, or derive a stable one for a message that somebody else has published."""
    try:
        return UUID((text or "")[:ID_LENGTH])
    except ValueError:
        return uuid5(NAMESPACE_OID, text or "")
