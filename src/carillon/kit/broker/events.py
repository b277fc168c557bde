"""What a subscriber has not read yet: bounded, and honest about a gap when the reader is too slow."""

import asyncio
from collections import deque
from typing import Self

from carillon.kit.broker.port import Event, LinkLost, Reconnected

CAPACITY = 10_000


class EventQueue:
    """An async iterator of events; an overflow becomes one `Reconnected`, as after a lost connection.

    An overflow by `LinkLost` leaves that: its `Reconnected` is still to come.
    """

    def __init__(self, *, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._events: deque[Event] = deque()
        self._arrived = asyncio.Event()

    def put(self, event: Event) -> None:
        if len(self._events) >= self._capacity:
            self._events.clear()
            event = event if isinstance(event, LinkLost) else Reconnected()
        self._events.append(event)
        self._arrived.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            self._arrived.clear()
            await self._arrived.wait()
        return self._events.popleft()
