"""Accept among fakes: what is asked of whom, what is waited for, and how many share a commit."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from carillon.contracts.channels import Channel
from carillon.contracts.notifications import NotificationRequested
from carillon.contracts.templates import PublishedTemplate
from carillon.contracts.users import Contact
from carillon.gateway.actions.accept import Acceptor, accept, flusher
from carillon.gateway.actions.look_up import Neighbours
from carillon.gateway.actions.measure import Backlog
from carillon.gateway.domain import Acceptance, Standing
from carillon.gateway.errors import RequestIdReused, TemplateNotFound, TooMuchWaits, UserNotFound
from carillon.kit.coalescer import coalescing
from carillon.kit.errors import Invalid, Unavailable
from carillon.kit.http.client import ServiceRefused
from carillon.kit.ids import uuid7
from tests.support.waiting import eventually
from tests.unit.gateway.neighbours import FakeContacts, FakeTemplates, template
from tests.unit.gateway.tables import Tables

CALLER = uuid4()


class Stand:
    """An acceptor among fakes."""

    def __init__(self) -> None:
        self.tables, self.contacts, self.templates = Tables(), FakeContacts(), FakeTemplates()
        self.templates.publish("welcome")
        self.grew, self.backlog = asyncio.Event(), Backlog(most=10)
        self.handed_in = 0
        self.acceptor: Acceptor

    def asked(self, **given: Any) -> NotificationRequested:
        fields: dict[str, Any] = {
            "notification_type": "email",
            "user_id": given.pop("user_id", None) or self.contacts.add(),
            "template_code": "welcome",
            "variables": {"name": "Ada", "link": "https://example.com/x"},
            "request_id": uuid7().hex,
        }
        return NotificationRequested(**{**fields, **given})

    async def accept(self, asked: NotificationRequested, *, caller_id: UUID = CALLER) -> Standing:
        return await accept(asked, self.acceptor, caller_id=caller_id, correlation_id="c")


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    stand = Stand()
    async with coalescing(flusher(stand.tables, stand.grew)) as coalescer:

        async def hand_in(item: Acceptance) -> Standing:
            stand.handed_in += 1
            return await coalescer(item)

        neighbours = Neighbours(stand.contacts, stand.templates, patience=0.05)
        stand.acceptor = Acceptor(hand_in, stand.tables, neighbours, stand.backlog)
        yield stand
        stand.tables.open.set()


async def test_whoever_comes_while_a_commit_runs_shares_the_next_one(stand: Stand) -> None:
    stand.tables.open.clear()
    first = asyncio.create_task(stand.accept(stand.asked()))
    await eventually(lambda: stand.tables.asked == 1)
    others = [asyncio.create_task(stand.accept(stand.asked())) for _ in range(99)]
    await eventually(lambda: stand.handed_in == 100)
    stand.tables.open.set()

    standings = await asyncio.gather(first, *others)

    assert all(standing.fresh for standing in standings)
    assert stand.tables.batches == [1, 99]


async def test_the_relay_is_woken_by_something_new_and_not_by_a_replay(stand: Stand) -> None:
    asked = stand.asked()
    await stand.accept(asked)
    assert stand.grew.is_set()

    stand.grew.clear()
    replay = await stand.accept(asked)

    assert not replay.fresh
    assert not stand.grew.is_set()


async def test_the_same_request_id_with_another_body_is_refused(stand: Stand) -> None:
    asked = stand.asked()
    await stand.accept(asked)

    with pytest.raises(RequestIdReused):
        await stand.accept(stand.asked(request_id=asked.request_id))
    assert (await stand.accept(asked, caller_id=uuid4())).fresh


async def test_an_unknown_user_comes_before_an_unknown_template(stand: Stand) -> None:
    with pytest.raises(UserNotFound):
        await stand.accept(stand.asked(user_id=uuid4(), template_code="nowhere"))
    with pytest.raises(TemplateNotFound):
        await stand.accept(stand.asked(template_code="nowhere"))
    with pytest.raises(TemplateNotFound):
        await stand.accept(stand.asked(notification_type="push"))


async def test_a_template_in_the_users_own_language_alone_is_enough(stand: Stand) -> None:
    stand.templates.publish("bonjour", language="fr")

    assert (await stand.accept(stand.asked(template_code="bonjour", user_id=stand.contacts.add(locale="fr")))).fresh
    with pytest.raises(TemplateNotFound):
        await stand.accept(stand.asked(template_code="bonjour", user_id=stand.contacts.add(locale="de")))


async def test_a_replay_needs_neither_user_nor_template_any_more(stand: Stand) -> None:
    asked = stand.asked()
    first = await stand.accept(asked)
    stand.contacts.people.clear()
    stand.templates.published_now.clear()

    replay = await stand.accept(asked)

    assert (replay.notification_id, replay.fresh) == (first.notification_id, False)


async def test_neighbours_are_not_asked_for_what_they_told_a_moment_ago(stand: Stand) -> None:
    asked = stand.asked()
    stand.contacts.told[asked.user_id] = stand.contacts.people.pop(asked.user_id)
    stand.templates.told[asked.template_code] = template(asked.template_code)

    assert (await stand.accept(asked)).fresh


async def test_one_silent_neighbour_does_not_hide_what_the_other_knows(stand: Stand) -> None:
    stand.contacts.away = True
    with pytest.raises(TemplateNotFound):
        await stand.accept(stand.asked(template_code="nowhere"))
    stand.contacts.away, stand.templates.away = False, True
    with pytest.raises(UserNotFound):
        await stand.accept(stand.asked(user_id=uuid4(), template_code="nowhere"))


class Mute(FakeContacts):
    """Never answers."""

    async def contact(self, user_id: UUID, channel: Channel, category: str | None) -> Contact | None:
        await asyncio.Event().wait()
        raise AssertionError


class Refusing(FakeTemplates):
    """Does not know this service's token."""

    async def published(self, code: str, channel: Channel, language: str | None) -> PublishedTemplate | None:
        raise ServiceRefused(403, "forbidden", "not you")


async def test_a_neighbour_that_hangs_or_refuses_the_question_hinders_nobody(stand: Stand) -> None:
    neighbours = Neighbours(Mute(), Refusing(), patience=0.05)
    acceptor = Acceptor(stand.acceptor.hand_in, stand.tables, neighbours, stand.backlog)

    async with asyncio.timeout(10):
        standing = await accept(stand.asked(), acceptor, caller_id=CALLER, correlation_id="c")

    assert standing.fresh


async def test_a_caller_who_hangs_up_leaves_the_commit_to_itself(stand: Stand) -> None:
    stand.tables.open.clear()
    asked = stand.asked()
    gone = asyncio.create_task(stand.accept(asked))
    await eventually(lambda: stand.tables.asked == 1)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    stand.tables.open.set()

    assert not (await stand.accept(asked)).fresh


async def test_one_refused_row_fails_alone(stand: Stand) -> None:
    stand.tables.open.clear()
    bad = stand.asked()
    stand.tables.refuses.add(bad.request_id)
    posts = [asyncio.create_task(stand.accept(asked)) for asked in (stand.asked(), bad, stand.asked())]
    await eventually(lambda: stand.handed_in == 3)
    stand.tables.open.set()

    first, refused, last = await asyncio.gather(*posts, return_exceptions=True)

    assert isinstance(refused, Invalid)
    assert isinstance(first, Standing)
    assert isinstance(last, Standing)


async def test_while_the_tables_are_away_every_caller_is_told(stand: Stand) -> None:
    stand.tables.away = True

    answers = await asyncio.gather(*(stand.accept(stand.asked()) for _ in range(3)), return_exceptions=True)

    assert [type(answer) for answer in answers] == [Unavailable] * 3


@pytest.mark.parametrize(
    ("waiting", "priority", "passes"), [(11, 3, False), (11, 4, True), (11, 10, True), (10, 1, True)]
)
async def test_while_too_much_waits_nothing_new_is_taken_in_the_bulk_lane_alone(
    stand: Stand, waiting: int, priority: int, *, passes: bool
) -> None:
    stand.backlog.waiting = waiting

    if passes:
        assert (await stand.accept(stand.asked(priority=priority))).fresh
        return
    with pytest.raises(TooMuchWaits) as told:
        await stand.accept(stand.asked(priority=priority))
    assert (told.value.status, told.value.headers["Retry-After"]) == (429, "5")
    assert stand.tables.keys == {}


async def test_what_was_accepted_before_is_replayed_however_much_waits(stand: Stand) -> None:
    asked = stand.asked(priority=1)
    await stand.accept(asked)
    stand.backlog.waiting = 11

    assert not (await stand.accept(asked)).fresh
    stand.backlog.waiting = None  # nobody knows how much: nobody is refused
    assert (await stand.accept(stand.asked(priority=1))).fresh
