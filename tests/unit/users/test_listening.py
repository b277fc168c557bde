"""Hearing of changes: while the link stands nothing old is answered, and without it nothing old for long."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from carillon.clients.revocations import Revocations
from carillon.clients.user_events import follow
from carillon.contracts.preferences import Choices
from carillon.kit.auth import Caller
from carillon.kit.broker.port import Announced, Event, LinkLost, Reconnected
from carillon.kit.ids import uuid7
from carillon.kit.remembered_tokens import RememberedTokens
from carillon.users.actions.looking_up import LookUps
from carillon.users.domain.events import Backlog, WaitingEvent
from carillon.users.domain.preferences import Person
from carillon.users.loops import Changes, announce
from tests.support.link import ALL_TOLD, Link
from tests.support.waiting import eventually
from tests.unit.users.fakes import FakePeople

ADA = Person(
    user_id=uuid7(), name="Ada", email="ada@example.com", locale=None, status="active", version=1,
    choices=Choices(), suppressed=False, devices=[],
)  # fmt: skip


UNREADABLE = [
    b"garbage", b"{}", b'{"user_id": "nope", "version": 2}', b'{"category": 5}', b'{"all_told": false}',
    b'{"deep":' * 5_000,
]  # fmt: skip


async def nobody(_token: str) -> Caller:
    raise AssertionError


@pytest.fixture
def reader() -> FakePeople:
    return FakePeople(known={ADA.user_id: ADA})


@pytest.fixture
def look_ups(reader: FakePeople) -> LookUps:
    return LookUps(reader, reader, fresh_seconds=3600, stale_seconds=3600)


@pytest.fixture
async def link(look_ups: LookUps) -> AsyncIterator[Link]:
    link: Any = Link()
    revocations = Revocations()
    revocations.guard(RememberedTokens(nobody, service="test", seconds=60))
    listening = asyncio.create_task(follow(link, look_ups, revocations))
    await asyncio.sleep(0)
    yield link
    listening.cancel()
    await asyncio.wait([listening])


async def opted_out(look_ups: LookUps) -> bool:
    return not (await look_ups.preferences(ADA.user_id)).value.email


def change(reader: FakePeople) -> None:
    reader.known[ADA.user_id] = msgspec.structs.replace(ADA, choices=Choices(email=False), version=2)


async def test_a_change_is_seen_when_it_is_told_of(link: Link, look_ups: LookUps, reader: FakePeople) -> None:
    await link.tell(Reconnected())
    assert not await opted_out(look_ups)
    change(reader)
    assert not await opted_out(look_ups)

    await link.tell(Announced("users.events", b'{"user_id": "%s", "version": 2}' % str(ADA.user_id).encode()))

    assert await opted_out(look_ups)


@pytest.mark.parametrize("before", [[], [Reconnected(), LinkLost()]], ids=["not yet", "no longer"])
async def test_without_the_link_a_change_that_nobody_told_of_is_seen_soon(
    link: Link, look_ups: LookUps, reader: FakePeople, before: list[Event]
) -> None:
    await link.tell(*before)
    assert not await opted_out(look_ups)
    change(reader)

    await eventually(lambda: opted_out(look_ups), within=5)


@pytest.mark.parametrize("event", [Reconnected(), *(Announced("users.events", body) for body in UNREADABLE)])
async def test_what_may_have_been_missed_is_read_anew(
    link: Link, look_ups: LookUps, reader: FakePeople, event: Event
) -> None:
    await link.tell(Reconnected())
    assert not await opted_out(look_ups)
    change(reader)

    await link.tell(event)

    assert await opted_out(look_ups)


async def test_a_change_that_waits_to_be_told_is_seen_soon(link: Link, look_ups: LookUps, reader: FakePeople) -> None:
    """The link stands, but those who announce, or their database, are gone: nobody vouches any more."""
    await link.tell(Reconnected(), ALL_TOLD)
    assert not await opted_out(look_ups)
    change(reader)
    assert not await opted_out(look_ups)

    await eventually(lambda: opted_out(look_ups), within=8)


async def test_as_long_as_somebody_vouches_memory_serves(link: Link, look_ups: LookUps, reader: FakePeople) -> None:
    await link.tell(Reconnected())
    assert not await opted_out(look_ups)
    reader.known.clear()

    for _ in range(35):
        await link.tell(ALL_TOLD)
        assert not await opted_out(look_ups)
        await asyncio.sleep(0.1)  # longer in all than the silence that would end it


async def test_once_somebody_vouches_again_memory_serves_again_and_nothing_was_dropped(
    link: Link, look_ups: LookUps, reader: FakePeople
) -> None:
    await link.tell(Reconnected())
    assert not await opted_out(look_ups)
    asked = len(reader.queries)

    async def asked_each_second() -> bool:
        await opted_out(look_ups)
        return len(reader.queries) > asked

    await eventually(asked_each_second, within=8, says="nobody vouches")
    asked = len(reader.queries)
    await link.tell(ALL_TOLD)
    for _ in range(15):
        await link.tell(ALL_TOLD)
        await opted_out(look_ups)
        await asyncio.sleep(0.1)

    assert len(reader.queries) == asked


async def test_a_late_word_of_a_lost_link_vouches_for_nothing(
    link: Link, look_ups: LookUps, reader: FakePeople
) -> None:
    await link.tell(Reconnected(), LinkLost())
    assert not await opted_out(look_ups)
    change(reader)

    async def seen() -> bool:
        await link.tell(ALL_TOLD)
        return await opted_out(look_ups)

    await eventually(seen, within=5)


async def test_who_is_cut_off_leaves_what_waits_to_others_and_takes_it_up_when_the_link_is_back(
    look_ups: LookUps,
) -> None:
    claims, link = 0, Link()

    class Waiting:
        async def backlog(self) -> Backlog:
            return Backlog(1, oldest_seconds=60)

        async def claim(self, **_: Any) -> list[WaitingEvent]:
            nonlocal claims
            claims += 1
            return []

    outbox: Any = Waiting()
    broker: Any = link
    changes = Changes(look_ups, RememberedTokens(nobody, service="test", seconds=60))
    listening = asyncio.create_task(follow(broker, standing=changes.hearing))
    await link.tell(Reconnected(), LinkLost())
    announcing = asyncio.create_task(announce(outbox, broker, changes))
    for _ in range(20):
        changes.announce_soon()
        await asyncio.sleep(0)
    assert claims == 0

    await link.tell(Reconnected())

    await eventually(lambda: claims > 0, within=4, says="well before it would try without a link")
    for task in (announcing, listening):
        task.cancel()
    await asyncio.wait([announcing, listening])
