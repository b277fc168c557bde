"""Many callers, one flush at a time: whatever gathered while the last flush ran goes with the next."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from carillon.kit.errors import Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")


class Coalescer(Generic[Item, Result]):
    """`flush(items)` returns one result per item, in order; an exception in its place is raised to that caller alone.

    The flush is a task of its own: a caller that hangs up disturbs nobody. An exception out of `flush` goes to every
    caller of that batch. A further flusher may run at once for each of `parallel`. While `most` wait for a flush the
    next one is told Unavailable: what stands behind the flush is too slow, and memory has an end. A flush that would
    not be full waits `linger` seconds for more: for callers who gain more by few flushes than they lose by waiting.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]],
        *,
        size: int = 500,
        parallel: int = 1,
        most: int = 10_000,
        linger: float = 0.0,
    ) -> None:
        self._flush = flush
        self._size = size
        self._parallel = parallel
        self._most = most
        self._linger = linger
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, item: Item) -> Result:
        return await self.ask(item)

    def ask(self, item: Item) -> "asyncio.Future[Result]":
        """As calling, for those who wait for the result in their own way. Raises Unavailable."""
        if len(self._waiting) >= self._most:
            raise Unavailable("Too much waits here at this moment: try again shortly.")
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if len(self._running) < self._parallel:
            self._running.add(asyncio.create_task(self._run()))
        return answer

    async def drain(self) -> None:
        """Wait until everything handed in has been flushed."""
        while self._running:
            await asyncio.wait(self._running)

    async def _run(self) -> None:
        try:
            while self._waiting:
                if self._linger and len(self._waiting) < self._size:
                    await asyncio.sleep(self._linger)
                batch, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
                for (_, answer), result in zip(batch, await self._results(batch), strict=True):
                    _settle(answer, result)
        finally:
            # In the same step as the last look at what waits: a done callback would come a step later, and whoever
            # asks in between would count on a flusher that has already gone.
            self._running.discard(asyncio.current_task())

    async def _results(self, batch: "Sequence[tuple[Item, asyncio.Future[Result]]]") -> Sequence[Result | Exception]:
        try:
            results = await self._flush([item for item, _ in batch])
            if len(results) != len(batch):
                raise ValueError(f"a flush of {len(batch)} answered {len(results)}")  # noqa: TRY301
        except Exception as error:  # noqa: BLE001 - handed on to every caller of the batch
            return [error] * len(batch)
        except BaseException:
            for _, answer in batch:
                answer.cancel()
            raise
        return results


def _settle(answer: "asyncio.Future[Result]", result: Result | Exception) -> None:
    if answer.done():
        return
    if isinstance(result, Exception):
        answer.set_exception(result)
    else:
        answer.set_result(result)


@contextlib.asynccontextmanager
async def coalescing(
    flush: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]],
    *,
    size: int = 500,
    parallel: int = 1,
    most: int = 10_000,
    linger: float = 0.0,
) -> AsyncIterator[Coalescer[Item, Result]]:
    """A coalescer that is drained when the block ends."""
    coalescer = Coalescer(flush, size=size, parallel=parallel, most=most, linger=linger)
    try:
        yield coalescer
    finally:
        await coalescer.drain()
