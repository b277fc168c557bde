"""A data loader: many callers ask for one key each, the other side is asked once for all that gathered (window 0)."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

from carillon.kit.coalescer import Coalescer

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Loader(Generic[K, V]):
    """`load(keys)` gets distinct keys, at most `size`, and answers those it knows; an exception as a value goes to the
    callers of that key alone, an exception raised goes to all. Up to `parallel` loads run at once.
    """

    def __init__(
        self,
        load: Callable[[Sequence[K]], Awaitable[Mapping[K, V | Exception]]],
        *,
        size: int = 500,
        parallel: int = 4,
    ) -> None:
        self._load = load
        self._asking: contextvars.Context | None = None
        self._coalescer: Coalescer[K, V | None] = Coalescer(self._flush, size=size, parallel=parallel)

    async def __call__(self, key: K) -> V | None:
        """The value of one key; None where the other side knows none."""
        return await self.ask(key)

    def ask(self, key: K) -> "asyncio.Future[V | None]":
        """As calling, for those who wait for the value in their own way. Raises Unavailable."""
        if self._asking is None:
            self._asking = contextvars.copy_context()
        return self._coalescer.ask(key)

    async def drain(self) -> None:
        await self._coalescer.drain()

    async def _flush(self, keys: Sequence[K]) -> Sequence[V | Exception | None]:
        """In the name of one of those who ask: not of whoever woke the flusher, perhaps long ago."""
        asking, self._asking = self._asking, None
        distinct = list(dict.fromkeys(keys))
        if asking == contextvars.copy_context():  # whoever asks has just woken it: no task of its own is needed
            found = await self._load(distinct)
        else:
            found = await asyncio.create_task(self._loaded(distinct), context=asking)
        return [found.get(key) for key in keys]

    async def _loaded(self, keys: Sequence[K]) -> Mapping[K, V | Exception]:
        return await self._load(keys)
