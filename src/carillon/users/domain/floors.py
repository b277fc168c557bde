"""Which versions of a user are known to be past."""

from typing import NamedTuple
from uuid import UUID

KEPT_SECONDS = 120.0
"""Longer than a copy lives that the slowest reader may have made of what it read before the change."""
UNKNOWN_SECONDS = 5.0
"""How long no copy is believed of a user who changed to a version that is not known here."""


class _Floor(NamedTuple):
    version: int
    until: float
    shut_until: float


class Floors:
    """For each user who changed lately the version below which nothing is true any more. Times are seconds, rising."""

    def __init__(self, *, capacity: int = 100_000) -> None:
        self._capacity = capacity
        self._floors: dict[UUID, _Floor] = {}

    def lift(self, user_id: UUID, version: int | None, *, now: float) -> bool:
        """Note a change, to a version or to an unknown one. False: there are too many, and all were forgotten."""
        known = self._floors.pop(user_id, _Floor(0, now, now))
        shut_until = now + UNKNOWN_SECONDS if version is None else known.shut_until
        self._floors[user_id] = _Floor(max(known.version, version or 0), now + KEPT_SECONDS, shut_until)
        self._drop_past(now)
        if len(self._floors) <= self._capacity:
            return True
        self._floors.clear()
        return False

    def allows(self, user_id: UUID, version: int, *, now: float) -> bool:
        floor = self._floors.get(user_id)
        return floor is None or (version >= floor.version and now >= floor.shut_until)

    def clear(self) -> None:
        self._floors.clear()

    def __len__(self) -> int:
        return len(self._floors)

    def _drop_past(self, now: float) -> None:
        while self._floors and self._floors[first := next(iter(self._floors))].until <= now:
            del self._floors[first]
