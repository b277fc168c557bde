"""Confirmed publishes through a window: many unconfirmed at a time, each accounted for."""

import asyncio
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import aiormq
from aiormq.channel import Channel
from pamqp import commands as spec

from carillon.kit.broker.rabbitmq.link import TROUBLE, closing_is_no_cancellation

WINDOW = 128
NO_QUEUE = "RabbitMQ has no queue for it"


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message on its way to an exchange; `routing_key` names the queue it is for."""

    exchange: str
    routing_key: str
    body: bytes
    properties: spec.Basic.Properties
    mandatory: bool = True


class Publisher:
    """Publishes through one window per call; shared by all tasks of a broker."""

    def __init__(self) -> None:
        self._ids: set[str] = set()

    async def publish(self, channel: Channel, parcels: Sequence[Parcel], *, within: float) -> dict[int, str]:
        """Publish all; return the reason for each position that is not known to be durable, within `within` seconds."""
        failures = dict.fromkeys(range(len(parcels)), "not confirmed in time")
        queue = iter(enumerate(parcels))
        workers = [
            asyncio.create_task(self._publish_some(channel, queue, failures)) for _ in range(min(WINDOW, len(parcels)))
        ]
        try:
            if workers:
                await asyncio.wait(workers, timeout=within)
        finally:
            for worker in workers:
                worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        return failures

    async def _publish_some(
        self, channel: Channel, queue: Iterator[tuple[int, Parcel]], failures: dict[int, str]
    ) -> None:
        for position, parcel in queue:
            with self._unique_id(parcel.properties):
                reason = await _publish_one(channel, parcel)
            if reason is None:
                del failures[position]
            else:
                failures[position] = reason

    @contextmanager
    def _unique_id(self, properties: spec.Basic.Properties) -> Iterator[None]:
        """Tell apart two messages with one id in flight: aiormq finds the publish of a returned message by its id."""
        if properties.message_id in self._ids:
            properties.message_id = f"{properties.message_id}#{secrets.token_hex(4)}"
        wire_id = str(properties.message_id)
        self._ids.add(wire_id)
        try:
            yield
        finally:
            self._ids.discard(wire_id)


async def _publish_one(channel: Channel, parcel: Parcel) -> str | None:
    """Publish and wait for the confirm; return why it failed. A returned message is confirmed as well, and lost."""
    try:
        with closing_is_no_cancellation():
            confirmation = await channel.basic_publish(
                parcel.body,
                exchange=parcel.exchange,
                routing_key=parcel.routing_key,
                properties=parcel.properties,
                mandatory=parcel.mandatory,
                wait=False,
            )
    except aiormq.exceptions.PublishError:
        return NO_QUEUE
    except aiormq.exceptions.DeliveryError:
        return f"the queue for {parcel.routing_key} refuses messages now"
    except TROUBLE as error:
        return f"the connection was lost: {str(error) or type(error).__name__}"
    return None if isinstance(confirmation, spec.Basic.Ack) else "RabbitMQ did not confirm it"
