"""A broker whose subscription to `users.events` tells what the test puts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from carillon.kit.broker.port import Announced, Event
from tests.support.waiting import eventually

ALL_TOLD = Announced("users.events", b'{"all_told": true}')


class Link:
    """The part of a broker that `follow` uses."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    @asynccontextmanager
    async def subscribe(self, topic: str) -> AsyncIterator[AsyncIterator[Event]]:
        assert topic == "users.events"
        yield self

    def __aiter__(self) -> "Link":
        return self

    async def __anext__(self) -> Event:
        return await self._events.get()

    async def tell(self, *events: Event) -> None:
        """Return once they were taken."""
        for event in events:
            self._events.put_nowait(event)
        await eventually(self._events.empty)
