"""Send slots: how many sends run at once, a fifth of them kept for the high lane."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator

from carillon.contracts.channels import Lane


class NoSlot(Exception):
    """None came free in time."""


class Slots:
    """`total` at most at once; lanes other than high leave a fifth (one at least, where there are two) alone."""

    def __init__(self, total: int) -> None:
        self._free = total
        self._kept = max(1, total // 5) if total > 1 else 0
        self._high: deque[asyncio.Future[None]] = deque()
        self._others: deque[asyncio.Future[None]] = deque()

    @contextlib.asynccontextmanager
    async def slot(self, lane: Lane, *, seconds: float) -> AsyncIterator[None]:
        """Hold a slot for the length of the block. Raises NoSlot when none came free within `seconds`."""
        await self._take(lane, seconds)
        try:
            yield
        finally:
            self._free += 1
            self._hand_out()

    async def _take(self, lane: Lane, seconds: float) -> None:
        queue = self._high if lane == "high" else self._others
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        self._hand_out()
        try:
            if not turn.done():
                async with asyncio.timeout(seconds):
                    await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # it came in the very moment we left
                self._free += 1
                self._hand_out()
            turn.cancel()
            if isinstance(error, TimeoutError):
                raise NoSlot from None
            raise

    def _hand_out(self) -> None:
        for queue, kept in ((self._high, 0), (self._others, self._kept)):
            while queue and self._free > kept:
                turn = queue.popleft()
                if not turn.done():
                    self._free -= 1
                    turn.set_result(None)
