"""Look-ups of people, kept for a while: preferences for everybody, contacts for the services that deliver."""

from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

from carillon.contracts.channels import Channel
from carillon.contracts.users import Contact, ContactsFound
from carillon.kit.cache import Cache, Found
from carillon.kit.errors import Unavailable
from carillon.kit.loader import Loader
from carillon.users.domain.preferences import Person, Preferences, contact_of, preferences_of
from carillon.users.errors import UnknownUser


class PeopleReader(Protocol):
    """Reads many people in one query."""

    async def people(self, user_ids: Sequence[UUID]) -> list[Person]: ...


_SOFT_SHARE = 1 / 3
_JITTER = 0.1


class LookUps:
    """Those who ask at once share a query; what was read is kept for `fresh_seconds`, or until the person changes.

    For a third of that longer it is still answered, while it is read anew.
    """

    def __init__(self, reader: PeopleReader, *, fresh_seconds: float, stale_seconds: float) -> None:
        self._reader = reader
        self._load: Loader[UUID, Person] = Loader(self._read)
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
        """Stale while the database is away. Raises UnknownUser."""
        found = await self._cache.get(user_id, lambda: self._load(user_id))
        if found.value is None:
            raise UnknownUser
        return Found(preferences_of(found.value), found.source)

    def preferences_at_hand(self, user_id: UUID) -> Found[Preferences] | None:
        """As `preferences`, where memory answers."""
        person = self._cache.fresh(user_id)
        return None if person is None else Found(preferences_of(person), "cached")

    async def contact(self, user_id: UUID, channel: Channel, category: str | None) -> Contact:
        """Never stale: those who deliver have a cache and a bound of their own. Raises UnknownUser, Unavailable."""
        found = await self._cache.get(user_id, lambda: self._load(user_id))
        if found.source == "stale":
            raise Unavailable("The database of users is away.")
        if found.value is None:
            raise UnknownUser
        return contact_of(found.value, channel, category)

    async def contacts(self, user_ids: Sequence[UUID], channel: Channel, category: str | None) -> ContactsFound:
        """Everybody in one query, past the cache: a batch of a broadcast would only push others out of it."""
        people = await self._read(list(dict.fromkeys(user_ids)))
        return ContactsFound(
            contacts=[contact_of(people[user_id], channel, category) for user_id in user_ids if user_id in people],
            missing=[user_id for user_id in user_ids if user_id not in people],
        )

    def forget(self, user_id: UUID) -> None:
        self._cache.forget(user_id)

    def link_down(self) -> None:
        """Nobody tells of changes made elsewhere."""
        self._cache.link_down()

    def link_up(self) -> None:
        """Changes are told of again; whatever was remembered may have changed."""
        self._cache.link_up()

    async def drain(self) -> None:
        await self._load.drain()

    async def _read(self, user_ids: Sequence[UUID]) -> Mapping[UUID, Person]:
        return {person.user_id: person for person in await self._reader.people(user_ids)}
