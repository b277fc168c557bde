"""A bounded cache in the process: one fill per key at a time, bounds of age, no fill older than an invalidation."""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Literal, TypeVar

from carillon.kit.telemetry.metrics import CACHE_READS, Tally

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
T = TypeVar("T")

Source = Literal["fresh", "cached", "stale"]
LINK_DOWN_SECONDS = 1.0
"""How long a value is answered without a question while nobody tells of changes."""
_RESULTS = ("fresh", "cached", "refreshing", "stale")
_PATIENCE_SECONDS = 1.0
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Found(Generic[V]):
    """A value and where it comes from: asked for just now, remembered, or remembered because nobody answers."""

    value: V
    source: Source


class _Kept(Generic[V]):
    """`read_at` is when the question began: a value is as old as that, however long the answer took. `made` is what
    readers have made of the value."""

    __slots__ = ("fresh_until", "made", "read_at", "value")

    def __init__(self, value: V, read_at: float, fresh_until: float) -> None:
        self.value = value
        self.read_at = read_at
        self.fresh_until = fresh_until
        self.made: Any = None


class _Filling(Generic[V]):
    """A fill under way; `discarded` once its key was invalidated."""

    __slots__ = ("began", "discarded", "task")

    def __init__(self, began: float, task: "asyncio.Future[V]") -> None:
        self.began = began
        self.discarded = False
        self.task = task


class Cache(Generic[K, V]):
    """Younger than `fresh_seconds`: answered at once. Up to `soft_seconds` older: answered at once all the same, while
    one fill runs in the background. Older: filled anew, and where the fill raises one of `away`, answered all the same
    up to `stale_seconds` of age.

    `jitter` ends the fresh life of each value by up to that share early, so that what was filled together does not
    expire together. While the link of whoever tells of changes is not good, values are fresh for 1 s at most, and none
    is answered beyond that without a question. Who has an old value at hand waits for 1 s at most, and then counts the
    other side as away. None is never kept, so that a miss is asked for again. At capacity the entry filled longest ago
    leaves.
    """

    def __init__(
        self,
        *,
        service: str,
        name: str,
        fresh_seconds: float,
        soft_seconds: float = 0,
        stale_seconds: float = 0,
        jitter: float = 0,
        capacity: int = 50_000,
        away: tuple[type[Exception], ...] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fresh = fresh_seconds
        self._soft = soft_seconds
        self._stale = max(stale_seconds, fresh_seconds)
        self._jitter = jitter
        self._capacity = capacity
        self._away: tuple[type[Exception], ...] = (*away, TimeoutError)
        self._clock = clock
        self._kept: dict[K, _Kept[V]] = {}
        self._filling: dict[K, _Filling[V]] = {}
        self._good_until = math.inf
        self._reads = {result: Tally(CACHE_READS.labels(service, name, result)) for result in _RESULTS}
        self._cached = self._reads["cached"]

    async def get(self, key: K, fill: Callable[[], Awaitable[V]]) -> Found[V]:
        """Answer from memory or by `fill`; what `fill` raises goes to everyone who waits for this key."""
        if (remembered := self.fresh(key)) is not None:
            return Found(remembered, "cached")
        if (remembered := self._soft_value(key)) is not None:
            if key not in self._filling:
                self._begin(key, fill)
            return Found(remembered, "cached")
        try:
            async with asyncio.timeout(None if self.peek(key) is None else _PATIENCE_SECONDS):
                value = await self._filled(key, fill)
        except self._away:
            stale = self.peek(key)
            if stale is None:
                raise
            self._reads["stale"].count += 1
            return Found(stale, "stale")
        self._reads["fresh"].count += 1
        return Found(value, "fresh")

    def fresh(self, key: K) -> V | None:
        """What is remembered and young enough to need no question; a read like any other."""
        value = self.young(key)
        if value is not None:
            self.count()
        return value

    def young(self, key: K) -> V | None:
        """As `fresh`, for those who may yet want none of it: where they do, they `count` the read."""
        kept = self._young(key)
        return None if kept is None else kept.value

    def made(self, key: K, make: Callable[[V], T]) -> T | None:
        """As `fresh`, of what `make` makes of the value: once per fill, and for one kind of reader."""
        kept = self._young(key)
        if kept is None:
            return None
        self.count()
        if kept.made is None:
            kept.made = make(kept.value)
        made: T = kept.made
        return made

    def count(self) -> None:
        self._cached.count += 1

    async def renew(self, key: K, fill: Callable[[], Awaitable[V]]) -> V:
        """Fill now, whatever is remembered; what was remembered stays where one of `away` is raised."""
        return await self._filled(key, fill)

    def peek(self, key: K) -> V | None:
        """What is remembered within the stale bound; nobody is asked."""
        kept = self._kept.get(key)
        return kept.value if kept is not None and self._clock() - kept.read_at < self._stale else None

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

    def link_down(self) -> None:
        """Changes are not heard of from now on."""
        self._good_until = -math.inf

    def link_up(self, seconds: float = math.inf) -> None:
        """Changes are heard of again, for `seconds` at least; those before may have been missed: all is dropped."""
        self.link_good(seconds)
        self.forget_all()

    def link_good(self, seconds: float) -> None:
        """No change was missed, and for `seconds` none will be."""
        self._good_until = self._clock() + seconds

    def __len__(self) -> int:
        return len(self._kept)

    def _young(self, key: K) -> _Kept[V] | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        now = self._clock()
        if now >= kept.fresh_until or (now >= self._good_until and now - kept.read_at >= LINK_DOWN_SECONDS):
            return None
        return kept

    def _soft_value(self, key: K) -> V | None:
        kept, now = self._kept.get(key), self._clock()
        if kept is None or now >= self._good_until or now >= kept.fresh_until + self._soft:
            return None
        self._reads["refreshing"].count += 1
        return kept.value

    async def _filled(self, key: K, fill: Callable[[], Awaitable[V]]) -> V:
        for _ in range(_ROUNDS - 1):
            filling = self._filling.get(key) or self._begin(key, fill)
            value = await asyncio.shield(filling.task)
            if not filling.discarded:
                return value
        return await asyncio.shield(self._begin(key, fill).task)

    def _begin(self, key: K, fill: Callable[[], Awaitable[V]]) -> _Filling[V]:
        filling: _Filling[V] = _Filling(self._clock(), asyncio.ensure_future(fill()))
        self._filling[key] = filling
        filling.task.add_done_callback(partial(self._ended, key, filling))  # the first: it runs before those who wait
        return filling

    def _ended(self, key: K, filling: _Filling[V], task: "asyncio.Future[V]") -> None:
        """Everyone who waited may have hung up: what was asked for is kept all the same, and no failure goes unseen."""
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            self._keep(key, task.result(), filling)
        elif not isinstance(error, self._away):
            self._keep(key, None, filling)
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
        early = random.uniform(0, self._jitter) if self._jitter else 0  # noqa: S311 - jitter, not a secret
        self._kept[key] = _Kept(value, filling.began, filling.began + self._fresh * (1 - early))
