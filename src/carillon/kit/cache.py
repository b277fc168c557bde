"""A bounded cache in the process: one fill per key at a time, a fresh and a stale bound, no fill older than an
invalidation."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from carillon.kit.telemetry.metrics import CACHE_READS

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

Source = Literal["fresh", "cached", "stale"]
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Found(Generic[V]):
    """A value and where it comes from: asked for just now, remembered, or remembered because nobody answers."""

    value: V
    source: Source


class _Filling(Generic[V]):
    """A fill under way; `discarded` once its key was invalidated."""

    __slots__ = ("discarded", "task")

    def __init__(self) -> None:
        self.discarded = False
        self.task: asyncio.Task[V]


class Cache(Generic[K, V]):
    """Younger than `fresh_seconds`: answered at once. Older: filled anew, and where the fill raises one of `away`,
    answered all the same up to `stale_seconds` of age.

    None is never kept, so that a miss is asked for again. At capacity the entry filled longest ago leaves.
    """

    def __init__(
        self,
        *,
        service: str,
        name: str,
        fresh_seconds: float,
        stale_seconds: float = 0,
        capacity: int = 50_000,
        away: tuple[type[Exception], ...] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fresh = fresh_seconds
        self._stale = max(stale_seconds, fresh_seconds)
        self._capacity = capacity
        self._away = away
        self._clock = clock
        self._kept: dict[K, tuple[V, float]] = {}
        self._filling: dict[K, _Filling[V]] = {}
        self._reads = {source: CACHE_READS.labels(service, name, source) for source in ("fresh", "cached", "stale")}

    async def get(self, key: K, fill: Callable[[], Awaitable[V]]) -> Found[V]:
        """Answer from memory or by `fill`; what `fill` raises goes to everyone who waits for this key."""
        if (remembered := self.fresh(key)) is not None:
            return Found(remembered, "cached")
        try:
            value = await self._filled(key, fill)
        except self._away:
            stale = self.peek(key)
            if stale is None:
                raise
            self._reads["stale"].inc()
            return Found(stale, "stale")
        self._reads["fresh"].inc()
        return Found(value, "fresh")

    def fresh(self, key: K) -> V | None:
        """What is remembered and young enough to need no question; a read like any other."""
        kept = self._kept.get(key)
        if kept is None or self._clock() - kept[1] >= self._fresh:
            return None
        self._reads["cached"].inc()
        return kept[0]

    async def renew(self, key: K, fill: Callable[[], Awaitable[V]]) -> V:
        """Fill now, whatever is remembered; what was remembered stays where one of `away` is raised."""
        return await self._filled(key, fill)

    def peek(self, key: K) -> V | None:
        """What is remembered within the stale bound; nobody is asked."""
        kept = self._kept.get(key)
        return kept[0] if kept is not None and self._clock() - kept[1] < self._stale else None

    def forget(self, key: K) -> None:
        """Drop the key. A fill that is under way is not kept, and those who wait for it get a newer one."""
        self._kept.pop(key, None)
        if (filling := self._filling.pop(key, None)) is not None:
            filling.discarded = True

    def forget_where(self, belongs: Callable[[K], bool]) -> None:
        """Drop every key that `belongs` is true of; walks through all of them."""
        for key in [key for key in {*self._kept, *self._filling} if belongs(key)]:
            self.forget(key)

    def forget_all(self) -> None:
        self.forget_where(lambda _: True)

    def __len__(self) -> int:
        return len(self._kept)

    async def _filled(self, key: K, fill: Callable[[], Awaitable[V]]) -> V:
        for _ in range(_ROUNDS - 1):
            filling = self._filling.get(key) or self._begin(key, fill)
            value = await asyncio.shield(filling.task)
            if not filling.discarded:
                return value
        return await asyncio.shield(self._begin(key, fill).task)

    def _begin(self, key: K, fill: Callable[[], Awaitable[V]]) -> _Filling[V]:
        filling: _Filling[V] = _Filling()
        self._filling[key] = filling
        filling.task = asyncio.create_task(self._fill(key, fill, filling))
        filling.task.add_done_callback(_look_at)
        return filling

    async def _fill(self, key: K, fill: Callable[[], Awaitable[V]], filling: _Filling[V]) -> V:
        try:
            value = await fill()
        except self._away:
            raise
        except BaseException:
            self._keep(key, None, filling)
            raise
        else:
            self._keep(key, value, filling)
            return value
        finally:
            if self._filling.get(key) is filling:
                del self._filling[key]

    def _keep(self, key: K, value: V | None, filling: _Filling[V]) -> None:
        if filling.discarded or self._filling.get(key) is not filling:
            return
        self._kept.pop(key, None)
        if value is None:
            return
        if len(self._kept) >= self._capacity:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = (value, self._clock())


def _look_at(task: "asyncio.Task[V]") -> None:
    """Everyone who waited may have hung up: an exception nobody asks for is no news to the event loop."""
    if not task.cancelled():
        task.exception()
