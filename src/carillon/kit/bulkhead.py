"""A bulkhead: so many do the same costly thing at a time, others wait for a moment and are told to come again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from carillon.kit.errors import Unavailable


class Bulkhead:
    """`places` at a time; whoever waits longer than `patience` seconds for one is told Unavailable with `says`."""

    def __init__(self, places: int, *, patience: float, says: str, retry_after: float = 5) -> None:
        self._places = asyncio.Semaphore(places)
        self._patience = patience
        self._says = says
        self._retry_after = retry_after

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Raises Unavailable."""
        try:
            async with asyncio.timeout(self._patience):
                await self._places.acquire()
        except TimeoutError:
            raise Unavailable(self._says, retry_after=self._retry_after) from None
        try:
            yield
        finally:
            self._places.release()
