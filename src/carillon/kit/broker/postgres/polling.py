"""How long a consumer rests between two claims: hardly while there is work, longer and longer while there is none."""

import asyncio
from contextlib import suppress

# A claim that did not fill its batch is followed by a breath, so that a trickle is taken in handfuls
# instead of a statement per message.
BUSY = 0.008
IDLE = 0.1
GROWTH = 1.5


class Poll:
    """The rests of one consumer; `wake` is set by publishes of the same process and cuts a rest short."""

    def __init__(self, wake: asyncio.Event) -> None:
        self._wake = wake
        self._rest = BUSY

    async def found(self, count: int, *, wanted: int) -> None:
        self._rest = BUSY
        if count < wanted:
            await asyncio.sleep(BUSY)

    async def found_nothing(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._rest):  # wait_for would lose a cancellation that meets the wake
                await self._wake.wait()
            self._rest = BUSY
        self._wake.clear()
        self._rest = min(self._rest * GROWTH, IDLE)
