"""Asking the users service how somebody is reached and whether they agreed; never an invented opt-in."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

import msgspec

from carillon.contracts.audiences import AudienceFilter, AudiencePage, AudienceWanted
from carillon.contracts.channels import Channel
from carillon.contracts.users import (
    CategoryChanged,
    Contact,
    ContactsFound,
    ContactsWanted,
    Decision,
    DeviceGone,
    UserChanged,
)
from carillon.kit.cache import Cache, Found
from carillon.kit.errors import Unavailable
from carillon.kit.http.client import ServiceClient, ServiceRefused, ServiceUnavailable, refused
from carillon.kit.loader import Loader

_MANY_CATEGORIES = 200
_SOFT_SHARE = 1 / 3
_JITTER = 0.1
_MANY_DECISIONS = 1000


class _Wanted(NamedTuple):
    user_id: UUID
    channel: Channel
    category: str | None


class UsersClient:
    """A contact is remembered for `fresh_seconds`; while the users service is away, up to `stale_seconds`.

    For a third of `fresh_seconds` longer it is answered while it is asked for anew. While it hears of no changes
    it is remembered for a second.
    """

    def __init__(
        self,
        client: ServiceClient,
        *,
        fresh_seconds: float = 30,
        stale_seconds: float = 3600,
        service: str = "",
    ) -> None:
        self._client = client
        self._load = Loader(self._contacts)
        self._asked: set[tuple[Channel, str | None]] = set()
        self._decisions: dict[Decision, Decision] = {}
        self._cache: Cache[_Wanted, Contact | None] = Cache(
            service=service,
            name="contacts",
            fresh_seconds=fresh_seconds,
            soft_seconds=fresh_seconds * _SOFT_SHARE,
            jitter=_JITTER,
            stale_seconds=stale_seconds,
            away=(ServiceUnavailable, Unavailable),
        )

    async def contact(self, user_id: UUID, channel: Channel, category: str | None) -> Contact | None:
        """None: there is no such user. Raises ServiceUnavailable when nobody can tell."""
        return (await self.look_up(user_id, channel, category)).value

    def remembered(self, user_id: UUID, channel: Channel, category: str | None) -> Contact | None:
        """The contact where nobody needs to be asked, without a pause."""
        return self._cache.fresh(_Wanted(user_id, channel, category))

    async def look_up(self, user_id: UUID, channel: Channel, category: str | None) -> Found[Contact | None]:
        """As `contact`, and whether it was asked for just now, remembered, or is stale."""
        wanted = _Wanted(user_id, channel, category)
        if len(self._asked) <= _MANY_CATEGORIES:  # beyond, `forget` walks through all that is kept
            self._asked.add((channel, category))
        return await self._cache.get(wanted, lambda: self._load.ask(wanted))

    async def audience(self, wanted: AudienceFilter, *, after: UUID | None, count_only: bool = False) -> AudiencePage:
        """Who fits among those after `after`. Raises ServiceUnavailable, ServiceRefused."""
        asked = AudienceWanted(filter=wanted, after=after, count_only=count_only)
        return await self._client.data("POST", "/api/v1/users/audience", AudiencePage, body=asked)

    async def device_gone(self, gone: DeviceGone) -> None:
        """Tell that a provider calls this token dead. Raises ServiceUnavailable, ServiceRefused."""
        self.forget(gone.user_id)
        answer = await self._client.call("POST", "/api/v1/users/devices/invalid", body=gone)
        if answer.status >= 400:  # noqa: PLR2004
            raise refused(answer)

    def forget(self, user_id: UUID) -> None:
        """Drop what is remembered of one user."""
        if len(self._asked) > _MANY_CATEGORIES:
            self._cache.forget_where(lambda wanted: wanted.user_id == user_id)
            return
        for channel, category in self._asked:
            self._cache.forget(_Wanted(user_id, channel, category))

    def heard(self, event: UserChanged | CategoryChanged) -> None:
        """Drop whoever changed; a category may decide about anybody, so that everybody is dropped."""
        if isinstance(event, UserChanged):
            self.forget(event.user_id)
        else:
            self._cache.forget_all()

    def link_down(self) -> None:
        """Nobody tells of changes from now on."""
        self._cache.link_down()

    def link_up(self, seconds: float) -> None:
        """Changes are told of again; whatever is remembered may have changed."""
        self._cache.link_up(seconds)

    def link_good(self, seconds: float) -> None:
        """All changes were told."""
        self._cache.link_good(seconds)

    async def _contacts(self, keys: Sequence[_Wanted]) -> Mapping[_Wanted, Contact | Exception | None]:
        """One question per channel and category; one that fails fails for its own keys alone."""
        groups: defaultdict[tuple[Channel, str | None], list[UUID]] = defaultdict(list)
        for user_id, channel, category in keys:
            groups[channel, category].append(user_id)
        answers = await asyncio.gather(*(self._ask(*group, ids) for group, ids in groups.items()))
        return {key: contact for answer in answers for key, contact in answer.items()}

    async def _ask(
        self, channel: Channel, category: str | None, user_ids: list[UUID]
    ) -> Mapping[_Wanted, Contact | Exception | None]:
        wanted = ContactsWanted(user_ids, channel, category)
        try:
            found = await self._client.data("POST", "/api/v1/users/contacts", ContactsFound, body=wanted)
        except (ServiceUnavailable, ServiceRefused) as error:
            return dict.fromkeys((_Wanted(user_id, channel, category) for user_id in user_ids), _as_away(error))
        return {_Wanted(contact.user_id, channel, category): self._lean(contact) for contact in found.contacts}

    def _lean(self, contact: Contact) -> Contact:
        """Most people share a few decisions, each of some 2 kB: the same one is kept once."""
        if len(self._decisions) >= _MANY_DECISIONS:
            self._decisions.clear()
        shared = self._decisions.setdefault(contact.decision, contact.decision)
        return msgspec.structs.replace(contact, decision=shared)


def _as_away(error: ServiceUnavailable | ServiceRefused) -> ServiceUnavailable:
    """A refusal (our token was revoked, the route is not there yet) tells nothing of the user: nobody can tell."""
    if isinstance(error, ServiceUnavailable):
        return error
    return ServiceUnavailable(f"users refused our question: {error.status} {error.code}")
