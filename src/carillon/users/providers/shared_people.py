"""People between the memory of one process and PostgreSQL: copies that all processes share in Redis."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from uuid import UUID

import msgspec

from carillon.kit.redis_client import open_redis
from carillon.kit.telemetry.metrics import CACHE_READS
from carillon.users.actions.looking_up import Ask
from carillon.users.domain.floors import Floors
from carillon.users.domain.preferences import Person
from carillon.users.providers.shared_cache import Copy, SharedCache, Shelf

PREFIX = "carillon:users:people:1:"
"""The number is that of the form of a copy."""
_REDIS_SECONDS = 0.1


class SharedPeople:
    """Copies are believed and made only while this process hears of changes (`link_good`), none below a version that is
    known to be past. So a copy that Redis should have dropped and did not is not answered: whoever hears knows better,
    and whoever does not hear asks PostgreSQL.
    """

    def __init__(self, cache: SharedCache, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._cache = cache
        self._clock = clock
        self._floors = Floors()
        self._good_until = -math.inf
        self._telling: set[asyncio.Task[None]] = set()
        self._reads = {
            result: CACHE_READS.labels("users", "people_redis", result) for result in ("cached", "missed", "stale")
        }

    async def people(self, user_ids: Sequence[UUID], ask: Ask) -> list[Person]:
        """What Redis has, and what `ask` tells of the others. Raises what `ask` raises."""
        shelf = await self._cache.read([str(user_id) for user_id in user_ids]) if self._hears() else None
        if shelf is None:
            return await ask(user_ids)
        found = self._believed(shelf, user_ids)
        self._reads["cached"].inc(len(found))
        missing = [user_id for user_id in user_ids if user_id not in found]
        if not missing:
            return list(found.values())
        self._reads["missed"].inc(len(missing))
        read = await ask(missing)
        await self._keep(shelf, read)
        return [*found.values(), *read]

    async def last_known(self, user_id: UUID) -> Person | None:
        """The copy in Redis, for when PostgreSQL is away: it may be older than a change, by its life at most."""
        shelf = await self._cache.read([str(user_id)])
        person = self._believed(shelf, [user_id]).get(user_id) if shelf else None
        if person is not None:
            self._reads["stale"].inc()
        return person

    def changed(self, user_id: UUID) -> None:
        """Committed here, to a version that is not known here: nobody shall find the old one, nor put it back."""
        self._lift(user_id, None)
        task = asyncio.create_task(self._cache.shut(str(user_id)))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def outdated(self, user_id: UUID, version: int) -> None:
        """Announced: versions below are past."""
        self._lift(user_id, version)

    async def outdate(self, versions: dict[UUID, int]) -> None:
        """Tell Redis what was committed; where that fails, all copies there are past when it is back."""
        await self._cache.outdate({str(user_id): version for user_id, version in versions.items()})

    def link_down(self) -> None:
        self._good_until = -math.inf

    def link_up(self, seconds: float) -> None:
        """Changes may have been missed: no copy made before is believed, by nobody."""
        self._cache.distrust()
        self.link_good(seconds)

    def link_good(self, seconds: float) -> None:
        """No change was missed: what others keep there is as true as what they tell."""
        self._good_until = self._clock() + seconds

    async def drain(self) -> None:
        while self._telling:
            await asyncio.wait(self._telling)

    def _believed(self, shelf: Shelf, user_ids: Sequence[UUID]) -> dict[UUID, Person]:
        found = {user_id: _person(user_id, shelf.copies.get(str(user_id))) for user_id in user_ids}
        return {user_id: person for user_id, person in found.items() if person is not None and self._allows(person)}

    async def _keep(self, shelf: Shelf, people: Sequence[Person]) -> None:
        if self._hears():
            copies = {
                str(person.user_id): Copy(person.version, msgspec.msgpack.encode(person))
                for person in people
                if self._allows(person)
            }
            await self._cache.keep(shelf.epoch, copies)

    def _hears(self) -> bool:
        return self._clock() < self._good_until

    def _allows(self, person: Person) -> bool:
        return self._floors.allows(person.user_id, person.version, now=self._clock())

    def _lift(self, user_id: UUID, version: int | None) -> None:
        if not self._floors.lift(user_id, version, now=self._clock()):
            self._cache.distrust()


def _person(user_id: UUID, copy: Copy | None) -> Person | None:
    """None for what is no person, another person, or another version than it says."""
    if copy is None:
        return None
    try:
        person = msgspec.msgpack.decode(copy.payload, type=Person)
    except msgspec.DecodeError:
        return None
    return person if (person.user_id, person.version) == (user_id, copy.version) else None


@contextlib.asynccontextmanager
async def open_shared_people(url: str | None, *, seconds: float = _REDIS_SECONDS) -> AsyncIterator[SharedPeople | None]:
    """None without a URL. A Redis that does not answer within `seconds` counts as away."""
    if url is None:
        yield None
        return
    async with open_redis(url, seconds=seconds) as client:
        shared = SharedPeople(SharedCache(client, prefix=PREFIX, seconds=seconds))
        yield shared
        await shared.drain()
