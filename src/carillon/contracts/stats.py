"""API shapes of the operators' figures: how much comes in, what becomes of it, and how much waits where."""

from datetime import datetime

import msgspec


class MinuteCount(msgspec.Struct, frozen=True):
    """What happened in the minute that began `at`."""

    at: datetime
    accepted: int
    delivered: int
    failed: int
    suppressed: int


class QueueFigures(msgspec.Struct, frozen=True):
    """How full and late one queue of the broker is; null where the broker cannot tell."""

    queue: str
    ready: int
    in_flight: int
    oldest_age_seconds: float | None


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """`minutes` are those of the last hour in which anything happened, counted by the process that answers since it
    started. `delivery_ratio` is delivered / (delivered + failed) of them, null where there was neither. What waits was
    counted up to five seconds ago; null while nobody could count.
    """

    minutes: list[MinuteCount]
    delivery_ratio: float | None
    outbox_waiting: int | None
    queues: list[QueueFigures] | None
