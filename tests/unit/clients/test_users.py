"""Contacts: asked for together, remembered within bounds, forgotten when somebody says so."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import msgspec
import pytest
from aiohttp import web

from carillon.clients.user_events import follow
from carillon.clients.users import UsersClient
from carillon.contracts.users import Contact, ContactsFound, ContactsWanted, Decision, DeviceGone, UserChanged
from carillon.kit.broker.port import Announced, Event, LinkLost, Reconnected
from carillon.kit.http.client import ServiceClient, ServiceUnavailable
from carillon.kit.http.envelope import Envelope
from carillon.kit.ids import uuid7
from tests.support.link import Link
from tests.support.peers import Peer, peer
from tests.support.waiting import eventually

YES = Decision(allowed=True, layer="channel_default", reason="default")
NO = Decision(allowed=False, layer="channel_opt_out", reason="opted out")


def person(user_id: UUID, decision: Decision = YES) -> Contact:
    return Contact(
        user_id=user_id, name="Ada", email="ada@example.com", locale=None, devices=[], decision=decision, version=1
    )


class Users:
    """A users service of few words: knows `people`, may be broken."""

    def __init__(self) -> None:
        self.people: dict[UUID, Contact] = {}
        self.questions: list[ContactsWanted] = []
        self.gone: list[DeviceGone] = []
        self.status = 200

    async def contacts(self, request: web.Request) -> web.Response:
        wanted = msgspec.json.decode(await request.read(), type=ContactsWanted)
        self.questions.append(wanted)
        if self.status != 200:
            return web.Response(status=self.status)
        known = [self.people[user_id] for user_id in wanted.user_ids if user_id in self.people]
        missing = [user_id for user_id in wanted.user_ids if user_id not in self.people]
        return web.Response(body=msgspec.json.encode(Envelope(ContactsFound(known, missing))))

    async def devices(self, request: web.Request) -> web.Response:
        self.gone.append(msgspec.json.decode(await request.read(), type=DeviceGone))
        return web.Response(status=200, body=msgspec.json.encode(Envelope({})))

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/v1/users/contacts", self.contacts),
            web.post("/api/v1/users/devices/invalid", self.devices),
        ]


@pytest.fixture
def users() -> Users:
    return Users()


@pytest.fixture
async def elsewhere(users: Users) -> AsyncIterator[Peer]:
    async with peer(users.routes()) as there:
        yield there


@pytest.fixture
def client(elsewhere: Peer) -> UsersClient:
    return UsersClient(ServiceClient(elsewhere.session, elsewhere.url, token="crl_x"))


async def test_look_ups_at_once_become_one_question_per_channel_and_category(client: UsersClient, users: Users) -> None:
    ids = [uuid7() for _ in range(30)]
    users.people = {user_id: person(user_id) for user_id in ids[:29]}

    found = await asyncio.gather(
        *(client.contact(user_id, "email", None) for user_id in ids),
        *(client.contact(user_id, "email", "news") for user_id in ids[:2]),
    )

    assert [contact.user_id for contact in found[:29] if contact] == ids[:29]
    assert found[29] is None
    assert sorted((q.category or "", len(q.user_ids)) for q in users.questions) == [("", 30), ("news", 2)]


async def test_a_contact_is_remembered_at_once_until_the_user_changes(client: UsersClient, users: Users) -> None:
    known = uuid7()
    users.people[known] = person(known)
    before = client.remembered(known, "email", None)
    told = await client.contact(known, "email", None)
    kept = client.remembered(known, "email", None)
    client.forget(known)

    assert (before, kept, client.remembered(known, "email", None)) == (None, told, None)


async def test_a_remembered_contact_costs_no_question_and_an_unknown_user_is_asked_for_again(
    client: UsersClient, users: Users
) -> None:
    known, unknown = uuid7(), uuid7()
    users.people[known] = person(known)
    for _ in range(3):
        await client.contact(known, "email", None)
        await client.contact(unknown, "email", None)

    assert len(users.questions) == 4
    assert (await client.look_up(known, "email", None)).source == "cached"


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
async def test_whatever_is_wrong_over_there_nobody_is_taken_for_unknown(
    client: UsersClient, users: Users, status: int
) -> None:
    users.status = status
    with pytest.raises(ServiceUnavailable):
        await client.contact(uuid7(), "email", None)


async def test_while_users_is_away_a_contact_serves_within_the_stale_bound_only(elsewhere: Peer, users: Users) -> None:
    user_id = uuid7()
    users.people[user_id] = person(user_id)
    service = ServiceClient(elsewhere.session, elsewhere.url, token="crl_x")
    lenient = UsersClient(service, fresh_seconds=0, stale_seconds=3600)
    strict = UsersClient(service, fresh_seconds=0, stale_seconds=0)
    for client in (lenient, strict):
        await client.contact(user_id, "email", None)
    users.status = 503

    assert (await lenient.look_up(user_id, "email", None)).source == "stale"
    with pytest.raises(ServiceUnavailable):
        await strict.contact(user_id, "email", None)


@pytest.fixture
async def broker(client: UsersClient) -> AsyncIterator[Link]:
    link: Any = Link()
    watching = asyncio.create_task(follow(link, client))
    yield link
    watching.cancel()
    await asyncio.wait([watching])


async def test_an_opt_out_is_seen_as_soon_as_it_is_announced(client: UsersClient, users: Users, broker: Link) -> None:
    user_id, other = uuid7(), uuid7()
    users.people = {user_id: person(user_id), other: person(other)}
    await broker.tell(Reconnected())
    for category in (None, "news"):
        await client.contact(user_id, "email", category)
    await client.contact(other, "email", None)
    users.people[user_id] = person(user_id, NO)

    await broker.tell(Announced("users.events", msgspec.json.encode(UserChanged(user_id=user_id, version=2))))

    async def refused_everywhere() -> bool:
        seen = [await client.contact(user_id, "email", category) for category in (None, "news")]
        return all(contact and not contact.decision.allowed for contact in seen)

    await eventually(refused_everywhere)
    assert (await client.look_up(other, "email", None)).source == "cached"


@pytest.mark.parametrize("event", [Reconnected(), Announced("users.events", b"garbage")])
async def test_when_changes_may_have_been_missed_everybody_is_forgotten(
    client: UsersClient, users: Users, broker: Link, event: Event
) -> None:
    user_id = uuid7()
    users.people[user_id] = person(user_id)
    await client.contact(user_id, "email", None)
    await broker.tell(event)

    async def asked_again() -> bool:
        return (await client.look_up(user_id, "email", None)).source == "fresh"

    await eventually(asked_again)


async def test_while_nobody_tells_of_changes_a_contact_is_not_remembered_for_long(
    client: UsersClient, users: Users, broker: Link
) -> None:
    user_id = uuid7()
    users.people[user_id] = person(user_id)
    await broker.tell(Reconnected(), LinkLost())
    await client.contact(user_id, "email", None)
    users.people[user_id] = person(user_id, NO)

    async def refused() -> bool:
        contact = await client.contact(user_id, "email", None)
        return contact is not None and not contact.decision.allowed

    await eventually(refused, within=5)


async def test_a_dead_device_is_told_and_its_owner_forgotten(client: UsersClient, users: Users) -> None:
    user_id = uuid7()
    users.people[user_id] = person(user_id)
    await client.contact(user_id, "push", None)

    await client.device_gone(DeviceGone(user_id, "token", "unregistered"))

    assert [gone.token for gone in users.gone] == ["token"]
    assert (await client.look_up(user_id, "push", None)).source == "fresh"


async def test_forgetting_reaches_every_category_however_many_there_are(client: UsersClient, users: Users) -> None:
    user_id = uuid7()
    users.people[user_id] = person(user_id)
    for number in range(250):
        await client.contact(user_id, "email", f"category_{number}")
    client.forget(user_id)

    for number in (7, 249):
        assert (await client.look_up(user_id, "email", f"category_{number}")).source == "fresh"
