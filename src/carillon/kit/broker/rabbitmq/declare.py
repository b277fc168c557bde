"""Declares the topology on RabbitMQ; declaring again what is there changes nothing."""

from typing import Any

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelLockedResource, ChannelNotFoundEntity, ChannelPreconditionFailed

from carillon.kit.broker.port import Topology, TopologyMismatch
from carillon.kit.broker.rabbitmq import ladder

# Dead letters must not die a second time; newer servers limit quorum queues that do not say so.
UNLIMITED = 1_000_000_000


async def declare(channel: AbstractChannel, topology: Topology) -> None:
    """Create what is missing; raises `TopologyMismatch` when something of that name has other properties.

    The caller bounds the time.
    """
    try:
        await _exchanges(channel, topology)
        await _queues(channel, topology)
        await _ladder(channel, topology)
    except (ChannelPreconditionFailed, ChannelLockedResource, ChannelNotFoundEntity) as error:
        raise TopologyMismatch(
            f"RabbitMQ holds a queue or exchange of ours with other properties ({error}): "
            "drain and delete it, or choose another name or virtual host"
        ) from error


async def _exchanges(channel: AbstractChannel, topology: Topology) -> None:
    await channel.exchange_declare(topology.exchange, exchange_type="direct", durable=True)
    await channel.exchange_declare(topology.topics_exchange, exchange_type="topic", durable=True)


async def _queues(channel: AbstractChannel, topology: Topology) -> None:
    grave: dict[str, Any] = {"x-queue-type": "quorum", "x-delivery-limit": UNLIMITED}
    work: dict[str, Any] = {
        **_certain("", routing_key=topology.dead_letter_queue),
        "x-delivery-limit": topology.delivery_limit,
    }
    for queue in topology.all_queues:
        arguments = grave if queue == topology.dead_letter_queue else work
        await channel.queue_declare(queue, durable=True, arguments=arguments)
        await channel.queue_bind(queue, topology.exchange, routing_key=queue)


async def _ladder(channel: AbstractChannel, topology: Topology) -> None:
    """Declare one rung per delay; it dead-letters back with the routing key kept, so the message finds its queue."""
    for delay in topology.retry_delays:
        name = ladder.rung_name(topology.retry_exchange, delay)
        arguments = {**_certain(topology.exchange), "x-message-ttl": ladder.milliseconds(delay)}
        await channel.exchange_declare(name, exchange_type="fanout", durable=True)
        await channel.queue_declare(name, durable=True, arguments=arguments)
        await channel.queue_bind(name, name)


def _certain(exchange: str, *, routing_key: str | None = None) -> dict[str, Any]:
    """Give a quorum queue whose dead letters are moved with the broker's own confirms instead of at most once."""
    arguments = {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": exchange,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    return arguments if routing_key is None else {**arguments, "x-dead-letter-routing-key": routing_key}
