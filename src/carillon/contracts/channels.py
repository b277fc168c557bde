"""Channels, lanes and queues: the names on the broker and how a priority becomes a lane."""

from typing import Literal, get_args

from carillon.kit.broker.port import Topology

Channel = Literal["email", "push"]
Lane = Literal["high", "normal", "bulk"]

CHANNELS: tuple[Channel, ...] = get_args(Channel)
LANES: tuple[Lane, ...] = get_args(Lane)
_QUEUES = {
    (channel, lane): f"{channel}.queue" if lane == "normal" else f"{channel}.{lane}.queue"
    for channel in CHANNELS
    for lane in LANES
}

STATUS_QUEUE = "status.queue"
FAILED_QUEUE = "failed.queue"
ERASURES_QUEUE = "erasures.gateway.queue"
"""People who were erased, for the gateway to forget: durable, unlike what is announced."""
USERS_EVENTS = "users.events"
RETRY_DELAYS = (5.0, 30.0, 120.0, 600.0, 3600.0)

DEFAULT_PRIORITY = 5
_HIGH_FROM = 8
_BULK_TO = 3


def lane_of(priority: int) -> Lane:
    """Priorities 8 to 10 are the high lane, 1 to 3 the bulk lane."""
    return "high" if priority >= _HIGH_FROM else "bulk" if priority <= _BULK_TO else "normal"


def queue_of(channel: Channel, lane: Lane) -> str:
    """`email.queue` for the normal lane, `email.high.queue` and `email.bulk.queue` beside it."""
    return _QUEUES[channel, lane]


def topology(retry_delays: tuple[float, ...] = RETRY_DELAYS) -> Topology:
    """Everything that is declared on the broker, the same for every service."""
    return Topology(
        exchange="notifications.direct",
        queues=(*(queue_of(channel, lane) for channel in CHANNELS for lane in LANES), STATUS_QUEUE, ERASURES_QUEUE),
        dead_letter_queue=FAILED_QUEUE,
        retry_exchange="notifications.retry",
        retry_delays=retry_delays,
        topics_exchange=USERS_EVENTS,
    )
