"""A data loader: many callers ask for one key each, the other side is asked once for all that gathered (window 0)."""

import asyncio
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
        self._coalescer: Coalescer[K, V | None] = Coalescer(self._flush, size=size, parallel=parallel)

    async def __call__(self, key: K) -> V | None:
        """The value of one key; None where the other side knows none."""
        return await self._coalescer(key)

    def ask(self, key: K) -> "asyncio.Future[V | None]":
        """As calling, for those who wait for the value in their own way. Raises Unavailable."""
        return self._coalescer.ask(key)

    async def drain(self) -> None:
        await self._coalescer.drain()

    async def _flush(self, keys: Sequence[K]) -> Sequence[V | Exception | None]:
        found = await self._load(list(dict.fromkeys(keys)))
        return [found.get(key) for key in keys]
