"""While a process stops, its subscription may take long to close: by then nobody counts on hearing of changes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from carillon.clients.revocations import Revocations
from carillon.clients.user_events import follow
from carillon.clients.users import UsersClient
from carillon.contracts.users import Contact, ContactsFound, Decision
from carillon.kit.broker.port import Event, Reconnected
from carillon.kit.ids import uuid7
from carillon.users.actions.looking_up import LookUps
from tests.support.waiting import eventually
from tests.unit.users.fakes import FakePeople

ADA = uuid7()


class ClosesSlowly:
    """A broker with a link that stands, and whose closing hangs until `let_go`."""

    def __init__(self) -> None:
        self.stands = asyncio.Event()
        self.closing = asyncio.Event()
        self.let_go = asyncio.Event()

    @asynccontextmanager
    async def subscribe(self, _topic: str) -> AsyncIterator[AsyncIterator[Event]]:
        try:
            yield self._events()
        finally:
            self.closing.set()
            await self.let_go.wait()

    async def _events(self) -> AsyncIterator[Event]:
        yield Reconnected()
        self.stands.set()
        await asyncio.Event().wait()


class Told:
    """Remembered tokens that know whether somebody hears of revocations."""

    link = False

    def link_down(self) -> None:
        self.link = False

    def link_up(self, seconds: float) -> None:
        self.link = seconds > 0

    link_good = link_up


class Asked:
    """A users service that knows one person."""

    async def data(self, *_: Any, **__: Any) -> ContactsFound:
        yes = Decision(allowed=True, layer="channel_default", reason="default")
        ada = Contact(user_id=ADA, name="Ada", email=None, locale=None, devices=[], decision=yes, version=1)
        return ContactsFound([ada], [])


@asynccontextmanager
async def stopping(loop: Any, broker: ClosesSlowly) -> AsyncIterator[None]:
    """Within: the loop was told to stop, and its subscription is not closed yet."""
    task = asyncio.ensure_future(loop)
    async with asyncio.timeout(5):
        await broker.stands.wait()
        task.cancel()
        await broker.closing.wait()
        try:
            yield
        finally:
            broker.let_go.set()
            await asyncio.wait([task])


async def test_the_users_service_counts_on_no_news_while_its_link_closes() -> None:
    broker: Any = ClosesSlowly()
    reader = FakePeople(known={})
    look_ups, tokens, revocations = LookUps(reader, reader, fresh_seconds=60, stale_seconds=60), Told(), Revocations()
    guarded: Any = tokens
    revocations.guard(guarded)

    standing = asyncio.Event()
    async with stopping(follow(broker, look_ups, revocations, standing=standing), broker):
        assert (standing.is_set(), tokens.link) == (False, False)


async def test_callers_are_verified_anew_while_the_link_closes() -> None:
    broker: Any = ClosesSlowly()
    tokens, revocations = Told(), Revocations()
    guarded: Any = tokens
    revocations.guard(guarded)

    async with stopping(follow(broker, revocations), broker):
        assert tokens.link is False


async def test_contacts_are_asked_for_anew_while_the_link_closes() -> None:
    broker: Any = ClosesSlowly()
    asked: Any = Asked()
    client = UsersClient(asked)

    async with stopping(follow(broker, client), broker):
        await client.contact(ADA, "push", None)
        assert client.remembered(ADA, "push", None) is not None
        await eventually(lambda: client.remembered(ADA, "push", None) is None, within=3)
