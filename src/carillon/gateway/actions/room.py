"""Room: how many more messages each queue of the broker may get, so that a backlog waits in the outbox, in turns."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from carillon.gateway.domain import Due
from carillon.gateway.turns import FIRST, QUEUES, Turn, last_served
from carillon.kit.broker.port import BrokerError

_log = structlog.get_logger()

Ask = Callable[..., Awaitable[Mapping[str, int]]]
"""`Broker.lengths`."""

_PATIENCE = 1.0
_NO_BOUND = 1 << 60
_BLIND_SHARE = 20


@dataclass(slots=True)
class Room:
    """`crowded` while more waits than goes at once; `past` are then the callers of each queue who were served last.

    At most `bound` wait in a queue: what was published is counted, and the broker is asked once half is used up.

    Asked at most every `every` seconds; while it does not answer, a twentieth of the bound may go in that time. With
    several relays each counts for itself, so that a queue may get the bound of each.
    """

    ask: Ask
    bound: int
    every: float = 0.2
    clock: Callable[[], float] = time.monotonic
    crowded: bool = False
    left: dict[str, int] = field(init=False)
    past: dict[str, UUID] = field(init=False)
    _asked_at: float = float("-inf")
    _blind: bool = False

    def __post_init__(self) -> None:
        self.left = dict.fromkeys(QUEUES, self._half)
        self.past = dict.fromkeys(QUEUES, FIRST)

    @property
    def least(self) -> int:
        """What any queue can take, whichever it is."""
        return min(self.left.values())

    @property
    def pause(self) -> float:
        """How long until the broker may be asked again."""
        return max(0.0, self._asked_at + self.every - self.clock())

    async def look(self) -> None:
        """Ask where there is reason to, and it was not asked a moment ago."""
        short = [queue for queue, left in self.left.items() if left < self._half]
        if not short or self.pause:
            return
        try:
            async with asyncio.timeout(_PATIENCE):
                waiting = await self.ask(short, most=self.bound)
        except (BrokerError, TimeoutError) as error:
            self._told_nothing(short, type(error).__name__)
        else:
            self._blind = False
            self.left.update({queue: max(0, self.bound - waiting[queue]) for queue in short})
        self._asked_at = self.clock()

    def turns(self, size: int) -> list[Turn]:
        """One for each queue that can take something."""
        return [Turn(queue, min(left, size), self.past[queue]) for queue, left in self.left.items() if left > 0]

    def served(self, turns: Sequence[Turn], claimed: Sequence[Due]) -> None:
        """Let the next turns begin where these ended."""
        self.past.update({turn.queue: last_served(turn, claimed) for turn in turns})

    def took(self, claimed: Sequence[Due]) -> None:
        """Count what is about to be published."""
        for queue in {due.queue for due in claimed} & self.left.keys():
            self.left[queue] -= sum(due.queue == queue for due in claimed)

    def _told_nothing(self, short: Iterable[str], error: str) -> None:
        if not self._blind:
            _log.warning("relay_knows_no_lengths", error=error)
        self._blind = True
        for queue in short:
            self.left[queue] = max(self.left[queue], 1, self.bound // _BLIND_SHARE)

    @property
    def _half(self) -> int:
        return max(1, self.bound // 2)


async def _nothing_waits(queues: Sequence[str], *, most: int) -> Mapping[str, int]:
    del most
    return dict.fromkeys(queues, 0)


def no_bound() -> Room:
    """Everything may go at once."""
    return Room(_nothing_waits, _NO_BOUND)
