"""Share: each process tells the others what it has counted, so that any of them answers for all."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from carillon.gateway.actions.tally import Tallies
from carillon.kit.errors import Unavailable

_EVERY = 5.0
_LAST_SECONDS = 2.0


class CountStore(Protocol):
    async def exchange(self, own: Mapping[int, Mapping[str, int]]) -> Mapping[int, Counter[str]]:
        """Write one's own, whole minutes; answers what the others have counted. Raises Unavailable."""
        ...


async def keep_shared(tallies: Tallies, store: CountStore) -> None:
    """Every five seconds, until cancelled, and then once more."""
    try:
        while True:
            await share(tallies, store)
            await asyncio.sleep(_EVERY)
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS):
                await share(tallies, store)


async def share(tallies: Tallies, store: CountStore) -> None:
    """While the database is away nothing is forgotten, and the others' counts stay as they were last read."""
    own = tallies.untold()
    with contextlib.suppress(Unavailable):
        tallies.others = await store.exchange(own)
        tallies.told(own)
