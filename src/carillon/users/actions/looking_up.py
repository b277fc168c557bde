"""Look-ups of people, kept for a while: preferences for everybody, contacts for the services that deliver."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar
from uuid import UUID

from carillon.contracts.channels import Channel
from carillon.contracts.people import Preferences
from carillon.contracts.preferences import CategoryRule
from carillon.contracts.users import CategoryChanged, Contact, ContactsFound, UserChanged
from carillon.kit.cache import Cache, Found
from carillon.kit.errors import Unavailable
from carillon.kit.loader import Loader
from carillon.kit.telemetry.metrics import FILL_WAITS
from carillon.users.domain.preferences import CATEGORY, Person, contact_of, preferences_of
from carillon.users.errors import UnknownUser

_CATEGORY = re.compile(CATEGORY)


T = TypeVar("T")


class PeopleReader(Protocol):
    """Reads many people in one query."""

    async def people(self, user_ids: Sequence[UUID]) -> list[Person]: ...


Ask = Callable[[Sequence[UUID]], Awaitable[list[Person]]]


class SharedCopies(Protocol):
    """Copies that all processes share, between the memory of one and the database."""

    async def people(self, user_ids: Sequence[UUID], ask: Ask) -> list[Person]: ...

    async def last_known(self, user_id: UUID) -> Person | None: ...

    async def outdate(self, versions: dict[UUID, int]) -> None: ...

    def changed(self, user_id: UUID) -> None: ...

    def outdated(self, user_id: UUID, version: int) -> None: ...

    def link_down(self) -> None: ...

    def link_up(self, seconds: float) -> None: ...

    def link_good(self, seconds: float) -> None: ...


SHARED_SECONDS = 60.0
"""How old a shared copy may be."""
_SOFT_SHARE = 1 / 3
_JITTER = 0.1
_PLACE_SECONDS = 5.0


class RuleReader(Protocol):
    """Reads what holds of a category; None where there is none of this code."""

    async def rule(self, code: str) -> CategoryRule | None: ...


class LookUps:
    """Those who ask at once share a query; what was read is kept for `fresh_seconds`, or until the person changes.

    For a third of that longer it is still answered, while it is read anew. The database is asked at most `fills`
    questions at a time, so that an empty cache does not take all its connections; who waits 5 s for that is told
    Unavailable. What holds of a category is read anew each time: one row for all the people of a question.
    """

    def __init__(
        self,
        reader: PeopleReader,
        rules: RuleReader,
        *,
        fresh_seconds: float,
        stale_seconds: float,
        fills: int = 2,
        shared: SharedCopies | None = None,
    ) -> None:
        self._reader = reader
        self._rules = rules
        self._shared = shared
        self._takes_last_known = stale_seconds >= SHARED_SECONDS
        self._places = asyncio.Semaphore(fills)
        self._waits = FILL_WAITS.labels("users")
        self._load: Loader[UUID, Person] = Loader(self._read, parallel=fills)
        self._cache: Cache[UUID, Person | None] = Cache(
            service="users",
            name="people",
            fresh_seconds=fresh_seconds,
            soft_seconds=fresh_seconds * _SOFT_SHARE,
            jitter=_JITTER,
            stale_seconds=stale_seconds,
            away=(Unavailable,),
        )

    async def preferences(self, user_id: UUID) -> Found[Preferences]:
        """Stale while the database is away. Raises UnknownUser, Unavailable."""
        try:
            found = await self._cache.get(user_id, lambda: self._load.ask(user_id))
        except Unavailable:
            if (known := await self._last_known(user_id)) is None:
                raise
            found = Found(known, "stale")
        if found.value is None:
            raise UnknownUser
        return Found(preferences_of(found.value), found.source)

    def at_hand(self, user_id: UUID, make: Callable[[Preferences], T]) -> T | None:
        """Where memory answers, what `make` makes of the preferences: once, for as long as they are remembered."""
        return self._cache.made(user_id, lambda person: make(preferences_of(person)) if person else None)

    async def contact(self, user_id: UUID, channel: Channel, category: str | None) -> Contact:
        """Never stale: those who deliver have a cache and a bound of their own. Raises UnknownUser, Unavailable."""
        found = await self._cache.get(user_id, lambda: self._load.ask(user_id))
        if found.source == "stale":
            raise Unavailable("The database of users is away.")
        if found.value is None:
            raise UnknownUser
        return contact_of(found.value, channel, category, await self._rule(category))

    async def contacts(self, user_ids: Sequence[UUID], channel: Channel, category: str | None) -> ContactsFound:
        """Everybody in one query, past the cache: a batch of a broadcast would only push others out of it."""
        people = {person.user_id: person for person in await self._ask(list(dict.fromkeys(user_ids)))}
        rule = await self._rule(category)
        known = [people[user_id] for user_id in user_ids if user_id in people]
        return ContactsFound(
            contacts=[contact_of(person, channel, category, rule) for person in known],
            missing=[user_id for user_id in user_ids if user_id not in people],
        )

    def changed(self, user_id: UUID) -> None:
        """Changed by this process: nothing of before is answered here from now on."""
        if self._shared is not None:
            self._shared.changed(user_id)
        self._cache.forget(user_id)

    def heard(self, event: UserChanged | CategoryChanged) -> None:
        """Changed anywhere. What holds of a category is read anew each time: nobody needs to be forgotten."""
        if isinstance(event, UserChanged):
            if self._shared is not None:
                self._shared.outdated(event.user_id, event.version)
            self._cache.forget(event.user_id)

    async def outdate(self, versions: dict[UUID, int]) -> None:
        """Tell the shared copies what was committed."""
        if self._shared is not None:
            await self._shared.outdate(versions)

    def link_down(self) -> None:
        """Nobody tells of changes made elsewhere."""
        if self._shared is not None:
            self._shared.link_down()
        self._cache.link_down()

    def link_up(self, seconds: float) -> None:
        """Changes are told of again; whatever was remembered may have changed."""
        if self._shared is not None:
            self._shared.link_up(seconds)
        self._cache.link_up(seconds)

    def link_good(self, seconds: float) -> None:
        """All changes were told."""
        if self._shared is not None:
            self._shared.link_good(seconds)
        self._cache.link_good(seconds)

    async def drain(self) -> None:
        await self._load.drain()

    async def _rule(self, category: str | None) -> CategoryRule | None:
        return None if category is None or not _CATEGORY.match(category) else await self._rules.rule(category)

    async def _read(self, user_ids: Sequence[UUID]) -> Mapping[UUID, Person]:
        people = await (self._shared.people(user_ids, self._ask) if self._shared else self._ask(user_ids))
        return {person.user_id: person for person in people}

    async def _ask(self, user_ids: Sequence[UUID]) -> list[Person]:
        if self._places.locked():
            self._waits.inc()
        try:
            async with asyncio.timeout(_PLACE_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            raise Unavailable("Too many look-ups wait for the database at this moment: try again shortly.") from None
        try:
            return await self._reader.people(user_ids)
        finally:
            self._places.release()

    async def _last_known(self, user_id: UUID) -> Person | None:
        return await self._shared.last_known(user_id) if self._shared and self._takes_last_known else None
