"""When opaque tokens were last used: kept in mind, and written now and then."""

import time
from collections.abc import Callable, Mapping
from typing import Protocol
from uuid import UUID

from carillon.kit.errors import Unavailable

_MOST = 100_000


class UseKeeper(Protocol):
    async def note_used(self, used: Mapping[UUID, float]) -> None: ...


class TokensUsed:
    """Told of each token that was verified; `clock` gives Unix seconds. Bounded: beyond, a use is not noted."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._used: dict[UUID, float] = {}

    def __call__(self, token_id: UUID) -> None:
        if token_id in self._used or len(self._used) < _MOST:
            self._used[token_id] = self._clock()

    async def flush(self, keeper: UseKeeper) -> None:
        """Write what is in mind; while the database is away it stays there. Never raises Unavailable."""
        used, self._used = self._used, {}
        if not used:
            return
        try:
            await keeper.note_used(used)
        except Unavailable:
            self._used = {**used, **self._used}
