"""Whose turn it is while more waits than the relay takes at once: pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from carillon.contracts.channels import CHANNELS, LANES, queue_of
from carillon.gateway.domain import Due

FIRST = UUID(int=0)
QUEUES = {queue_of(channel, lane): place for place, lane in enumerate(LANES) for channel in CHANNELS}
"""The queues of the lanes, with the place of each lane: the lowest is served first."""

HIGH = LANES.index("high")


@dataclass(frozen=True, slots=True)
class Turn:
    """One queue may take `room` messages, of the callers after `past` first."""

    queue: str
    room: int
    past: UUID = FIRST

    @property
    def lane(self) -> int:
        return QUEUES[self.queue]


def more_waits(asked: Sequence[Turn], claimed: Sequence[Due], size: int) -> bool:
    """Whether there may be more of what was asked for."""
    found = Counter(due.queue for due in claimed)
    return len(claimed) >= size or any(found[turn.queue] >= turn.room for turn in asked)


def by_lanes(claimed: Sequence[Due]) -> list[Due]:
    """The high lane's first, whatever the database has answered first; within a lane nothing changes places."""
    return sorted(claimed, key=lambda due: QUEUES.get(due.queue, 0))


def last_served(turn: Turn, claimed: Sequence[Due]) -> UUID:
    """The caller after whom the next turn begins: the last one of those who had most."""
    had = Counter(due.caller_id for due in claimed if due.queue == turn.queue)
    if not had:
        return turn.past
    most = max(had.values())
    return max((caller for caller, count in had.items() if count == most), key=lambda c: (c <= turn.past, c))
