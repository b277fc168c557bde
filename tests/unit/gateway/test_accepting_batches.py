"""Accepting many among fakes: what is asked of whom how often, and what is told of each."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from carillon.contracts.batches import BatchReport
from carillon.contracts.channels import Channel
from carillon.contracts.notifications import NotificationRequested
from carillon.contracts.templates import PublishedTemplate
from carillon.contracts.users import Contact
from carillon.gateway.actions.accept import committing
from carillon.gateway.actions.accept_batch import BatchAcceptor, accept_batch
from carillon.gateway.actions.look_up import Neighbours
from carillon.gateway.actions.measure import Backlog
from carillon.gateway.domain import Acceptance
from carillon.kit.errors import Unavailable
from carillon.kit.http.bodies import reading
from carillon.kit.ids import uuid7
from tests.support.waiting import eventually
from tests.unit.gateway.neighbours import FakeContacts, FakeTemplates
from tests.unit.gateway.tables import Tables

CALLER = uuid4()
READ = reading(NotificationRequested)


class CountedContacts(FakeContacts):
    """Knows how often it was asked for whom."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[UUID] = Counter()

    async def contact(self, user_id: UUID, channel: Channel, category: str | None) -> Contact | None:
        self.asked[user_id] += 1
        return await super().contact(user_id, channel, category)


class CountedTemplates(FakeTemplates):
    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[tuple[str, str | None]] = Counter()

    async def published(self, code: str, channel: Channel, language: str | None) -> PublishedTemplate | None:
        self.asked[code, language] += 1
        return await super().published(code, channel, language)


class Stand:
    """A batch acceptor among fakes."""

    def __init__(self) -> None:
        self.tables, self.contacts, self.templates = Tables(), CountedContacts(), CountedTemplates()
        self.templates.publish("welcome")
        self.grew, self.backlog = asyncio.Event(), Backlog(most=10)
        self.acceptor: BatchAcceptor

    def body(self, **given: Any) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "notification_type": "email",
            "user_id": given.pop("user_id", None) or self.contacts.add(),
            "template_code": "welcome",
            "variables": {"name": "Ada", "link": "https://example.com/x"},
            "request_id": uuid7().hex,
        }
        return {**fields, **given}

    async def accept(self, *bodies: dict[str, Any]) -> BatchReport:
        raws = [msgspec.Raw(msgspec.json.encode(body)) for body in bodies]
        return await accept_batch(raws, READ, self.acceptor, caller_id=CALLER, correlation_id="c")


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    stand = Stand()
    async with committing(stand.tables, stand.grew, size=500) as (_, batches):
        stand.acceptor = BatchAcceptor(
            batches, stand.tables, Neighbours(stand.contacts, stand.templates, 0.05), stand.backlog
        )
        yield stand
        stand.tables.open.set()


async def test_everybody_and_every_template_is_asked_about_once(stand: Stand) -> None:
    people = [stand.contacts.add() for _ in range(3)]

    report = await stand.accept(*(stand.body(user_id=people[number % 3]) for number in range(30)))

    assert report.accepted == 30
    assert stand.contacts.asked == dict.fromkeys(people, 1)
    assert stand.templates.asked == {("welcome", None): 1}
    assert stand.tables.batches == [30]
    assert stand.grew.is_set()


async def test_a_template_in_the_users_own_language_alone_is_enough(stand: Stand) -> None:
    stand.templates.publish("bonjour", language="fr")
    french, german, nobody = stand.contacts.add(locale="fr"), stand.contacts.add(locale="de"), stand.contacts.add()

    report = await stand.accept(
        *(stand.body(user_id=user, template_code="bonjour") for user in (french, german, nobody, french))
    )

    assert [result.error for result in report.results] == [
        msgspec.UNSET, "template_not_found", "template_not_found", msgspec.UNSET,
    ]  # fmt: skip
    assert stand.templates.asked == {("bonjour", None): 1, ("bonjour", "fr"): 1, ("bonjour", "de"): 1}


async def test_neighbours_who_are_away_hinder_nobody(stand: Stand) -> None:
    stand.contacts.away = stand.templates.away = True

    assert (await stand.accept(stand.body(), stand.body(user_id=uuid4(), template_code="nowhere"))).accepted == 2


async def test_of_one_who_is_unknown_and_one_who_cannot_be_asked_about_the_first_alone_is_refused(stand: Stand) -> None:
    stand.templates.away = True

    report = await stand.accept(stand.body(), stand.body(user_id=uuid4()))

    assert [result.error for result in report.results] == [msgspec.UNSET, "user_not_found"]


async def test_a_batch_of_which_nothing_can_be_accepted_commits_nothing(stand: Stand) -> None:
    report = await stand.accept({}, stand.body(priority=11))

    assert (report.accepted, report.refused, stand.tables.asked) == (0, 2, 0)
    assert not stand.grew.is_set()


async def test_rows_that_are_refused_are_found_in_few_commits(stand: Stand) -> None:
    bodies = [stand.body() for _ in range(256)]
    stand.tables.refuses = {bodies[7]["request_id"], bodies[200]["request_id"]}

    report = await stand.accept(*bodies)

    assert [result.index for result in report.results if result.error] == [7, 200]
    assert report.accepted == 254
    assert stand.tables.asked < 50


async def test_while_the_tables_are_away_the_whole_is_told_so(stand: Stand) -> None:
    stand.tables.away = True

    with pytest.raises(Unavailable):
        await stand.accept(stand.body(), stand.body())


async def test_a_crash_of_the_commit_is_told_to_its_own_batch_alone(stand: Stand) -> None:
    async def crash(item: Sequence[Acceptance]) -> list[Exception]:
        return [ValueError("no") for _ in item]

    stand.acceptor = BatchAcceptor(crash, stand.tables, stand.acceptor.neighbours, stand.backlog)

    report = await stand.accept(stand.body(), stand.body())

    assert [result.error for result in report.results] == ["internal_error"] * 2


async def test_a_caller_who_hangs_up_leaves_the_commit_to_itself(stand: Stand) -> None:
    bodies = [stand.body() for _ in range(5)]
    stand.tables.open.clear()
    gone = asyncio.create_task(stand.accept(*bodies))
    await eventually(lambda: stand.tables.asked == 1)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    stand.tables.open.set()

    assert (await stand.accept(*bodies)).replayed == 5


async def test_others_have_their_turn_while_many_are_read(stand: Stand) -> None:
    turns, seen = 0, set[int]()

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def slowly(raw: "bytes | msgspec.Raw") -> NotificationRequested:
        seen.add(turns)
        return [READ(raw) for _ in range(20)][-1]

    raws = [msgspec.Raw(msgspec.json.encode(stand.body())) for _ in range(500)]
    other = asyncio.create_task(others())
    report = await accept_batch(raws, slowly, stand.acceptor, caller_id=CALLER, correlation_id="c")
    other.cancel()

    assert report.accepted == 500
    assert len(seen) > 1


async def test_while_too_much_waits_only_the_new_ones_of_the_bulk_lane_are_refused(stand: Stand) -> None:
    before = stand.body(priority=3)
    await stand.accept(before)
    stand.backlog.waiting = 11

    report = await stand.accept(stand.body(priority=3), before, stand.body(), stand.body(priority=9))

    assert (report.accepted, report.replayed, report.refused) == (2, 1, 1)
    assert report.results[0].error == "too_much_waits"


async def test_times_are_judged_item_by_item(stand: Stand) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    late, later = stand.body(expires_at="2020-01-31T12:00:00Z"), stand.body(send_at=tomorrow)

    report = await stand.accept(late, later)

    assert [result.error for result in report.results] == ["validation_failed", msgspec.UNSET]
    assert report.accepted == 1
