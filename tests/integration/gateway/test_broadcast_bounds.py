"""Broadcasts that could go wrong for ever: large messages, tries that fail, who was erased, and much that has ended."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import msgspec
import pytest
from structlog.testing import capture_logs

from carillon.contracts.audiences import AudienceFilter, AudiencePage
from carillon.gateway.actions.enqueue import Enqueuing, take_turn
from carillon.gateway.broadcasts import Kept, request_to
from carillon.gateway.domain import Acceptance, acceptance_of
from carillon.gateway.store.broadcasts import PENDING, Broadcasts
from carillon.gateway.store.erasures import Erasures
from carillon.kit.database import Connection, Database
from carillon.kit.http.client import ServiceRefused
from carillon.kit.ids import uuid7
from tests.integration.gateway.crowds import begun, call_to, crowd, terms_of, until, written_to
from tests.integration.gateway.house import Around, House, open_house
from tests.support.locks import HOW_MANY_WAIT
from tests.support.waiting import eventually
from tests.unit.gateway.neighbours import FakeContacts

CANCELED = """
CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'took too long' USING ERRCODE = '57014';
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON gateway.outbox FOR EACH ROW EXECUTE FUNCTION public.refuse()
"""
LARGE = {"name": "Friend", "link": "https://example.com/news", "text": "x" * 120_000}


class Weighed(Broadcasts):
    """Notes how many bytes each page carries."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.pages: list[tuple[int, int]] = []

    async def enqueue(self, broadcast: Kept, batch: Sequence[Acceptance], position: UUID | None) -> int | None:
        self.pages.append((len(batch), sum(len(one.message) + len(one.metadata or "") for one in batch)))
        return await super().enqueue(broadcast, batch, position)


@pytest.mark.parametrize("by_ids", [True, False], ids=["ids", "filter"])
async def test_a_page_of_large_messages_has_fewer_people_and_all_are_met_once(
    house: House, ours: Database, herald: str, *, by_ids: bool
) -> None:
    people = sorted(crowd(house.around, 40))
    audience: dict[str, Any] = {"user_ids": [str(one) for one in people]} if by_ids else {"filter": {}}
    key = await begun(house, herald, variables=LARGE, metadata={"text": "x" * 120_000}, audience=audience)
    weighed = Weighed(ours)

    await take_turn(replace(terms_of(house, ours), store=weighed))

    assert [size for size, _ in weighed.pages] == [22, 18]
    assert max(weight for _, weight in weighed.pages) <= 8_000_000
    assert sorted(await written_to(house, key)) == people
    assert (await until(house, herald, key, status="finished"))["enqueued"] == 40


async def test_a_broadcast_whose_every_try_fails_pauses_says_why_and_goes_on_when_resumed(
    house: House, ours: Database, herald: str
) -> None:
    people = crowd(house.around, 5)
    key = await begun(house, herald)
    terms = terms_of(house, ours)
    await house.sql.execute(CANCELED)

    with capture_logs() as logs:
        for tries in range(10):
            assert (await until(house, herald, key, status="running"))["reason"] is None, f"after {tries} tries"
            await tried_in_vain(terms)
    paused = await until(house, herald, key, status="paused")
    assert await take_turn(terms) is False, "nobody tries any further"
    await house.sql.execute("DROP TRIGGER refuse ON gateway.outbox")
    await house.call("POST", f"/broadcasts/{key}/resume", token=herald)
    await take_turn(terms)

    assert paused["reason"] == "tries_failed: 10 in a row, QueryCanceledError"
    told = [(line["event"], line["reason"]) for line in logs if line["log_level"] == "warning"]
    assert [one for one in told if one[0] != "broadcast_waits"] == [("broadcast_paused", paused["reason"])]
    assert told.count(("broadcast_waits", "Unavailable")) == 10
    assert sorted(await written_to(house, key)) == sorted(people)
    assert (await until(house, herald, key, status="finished"))["enqueued"] == 5


async def test_only_tries_that_fail_in_a_row_count_and_not_while_nobody_can_be_asked(
    house: House, ours: Database, herald: str
) -> None:
    crowd(house.around, 30, page=1)
    key = await begun(house, herald)
    terms = terms_of(house, ours)
    for _ in range(2):
        await house.sql.execute(CANCELED)
        for _ in range(9):
            await tried_in_vain(terms)
        await house.sql.execute("DROP TRIGGER refuse ON gateway.outbox; DROP FUNCTION public.refuse")
        await take_turn(terms)
    house.around.contacts.away = True
    for _ in range(11):
        await tried_in_vain(terms)

    assert (await until(house, herald, key, status="running"))["enqueued"] == 20
    assert await house.sql.fetchval("SELECT failed_tries FROM gateway.broadcasts") == 0


REST = """
SELECT extract(epoch FROM lease_until - now())::float FROM gateway.broadcasts WHERE id = $1
"""


async def test_one_whose_try_fails_rests_by_itself_and_the_others_go_on(
    house: House, ours: Database, herald: str
) -> None:
    people = crowd(house.around, 25)
    ailing = await begun(house, herald)
    house.around.contacts.away = True
    others = [await begun(house, herald, audience={"user_ids": [str(one) for one in people]}) for _ in range(2)]
    terms = terms_of(house, ours)

    turns = [await take_turn(terms) for _ in range(4)]

    assert turns == [True, True, True, False], "it is tried once, and not again while it rests"
    for key in others:
        assert (await until(house, herald, key, status="finished"))["enqueued"] == 25
    assert (await until(house, herald, ailing, status="running"))["enqueued"] == 0
    assert 0 < await house.sql.fetchval(REST, UUID(ailing)) <= 5
    house.around.contacts.away = False
    async with house.loop("broadcasts"):
        assert (await until(house, herald, ailing, status="finished"))["enqueued"] == 25


async def test_an_error_that_nobody_foresaw_holds_up_that_broadcast_alone(
    house: House, ours: Database, herald: str
) -> None:
    people = crowd(house.around, 3)
    await begun(house, herald)
    other = await begun(house, herald, audience={"user_ids": [str(one) for one in people]})

    class Foul(FakeContacts):
        async def audience(
            self, wanted: AudienceFilter, *, after: UUID | None, count_only: bool = False
        ) -> AudiencePage:
            raise RuntimeError("a mistake of ours")

    terms = replace(terms_of(house, ours), audience=Foul())
    with pytest.raises(RuntimeError):
        await take_turn(terms)

    assert [await take_turn(terms) for _ in range(2)] == [True, False]
    assert (await until(house, herald, other, status="finished"))["enqueued"] == 3


async def tried_in_vain(terms: Enqueuing) -> None:
    """One try, and the rest after it is cut short."""
    assert await take_turn(terms), "others may go on at once"
    assert isinstance(terms.store, Broadcasts)
    await terms.store.end_leases()


@dataclass
class Asked(FakeContacts):
    """Notes behind whom it was asked to go on."""

    behind: list[UUID | None] = field(default_factory=list)

    async def audience(self, wanted: AudienceFilter, *, after: UUID | None, count_only: bool = False) -> AudiencePage:
        if not count_only:
            self.behind.append(after)
        return await super().audience(wanted, after=after, count_only=count_only)


async def test_resumed_it_asks_for_nobody_whom_it_has_met(around: Around, ours: Database, herald: str) -> None:
    contacts = Asked()
    around.contacts = contacts
    people = sorted(crowd(around, 15, page=1))
    async with open_house(around) as house:
        key = await begun(house, herald)
        await take_turn(terms_of(house, ours))
        await house.call("POST", f"/broadcasts/{key}/pause", token=herald)
        await house.call("POST", f"/broadcasts/{key}/resume", token=herald)
        await take_turn(terms_of(house, ours))

        assert contacts.behind == [None, *people[:14]]
        assert sorted(await written_to(house, key)) == people


async def test_whoever_is_erased_before_their_turn_is_not_written_to_and_no_list_names_them(
    house: House, ours: Database, herald: str
) -> None:
    people = sorted(crowd(house.around, 6))
    ada, rest = people[2], people[:2] + people[3:]
    given = {"user_ids": [str(one) for one in people]}
    keys = [await begun(house, herald, audience=given, start=False) for _ in range(2)]
    cancelled = await begun(house, herald, audience=given, start=False)
    await house.call("POST", f"/broadcasts/{cancelled}/cancel", token=herald)

    await Erasures(ours).scrub(ada, bite=500)
    again = await house.call(
        "POST", f"/broadcasts/{keys[0]}/recipients", token=herald, json={"user_ids": [str(ada), str(rest[0])]}
    )

    named = "SELECT count(*) FROM gateway.broadcast_recipients WHERE user_id = $1"
    assert again.status == 200
    assert (await house.sql.fetchval(named, ada), await house.sql.fetchval(named, rest[0])) == (0, 3)
    async with house.loop("broadcasts"):
        for key in keys:
            assert (await house.call("GET", f"/broadcasts/{key}", token=herald)).data["total"] == 5
            await house.call("POST", f"/broadcasts/{key}/resume", token=herald)
            told = await until(house, herald, key, status="finished")
            assert (told["enqueued"], told["total"]) == (5, 5)
            assert sorted(await written_to(house, key)) == rest


@pytest.mark.parametrize("by_ids", [True, False], ids=["ids", "filter"])
async def test_whoever_is_erased_while_somebody_slow_has_the_page_with_them_is_not_written_to(
    house: House, ours: Database, herald: str, *, by_ids: bool
) -> None:
    people = sorted(crowd(house.around, 4))
    audience: dict[str, Any] = {"user_ids": [str(one) for one in people]} if by_ids else {"filter": {}}
    key = await begun(house, herald, audience=audience)
    slow = Broadcasts(ours)
    first = await slow.claim(lease_seconds=60)
    assert first is not None
    assert await slow.enqueue(first, [accepted(first, people[0])], people[0]) == 1
    second = msgspec.structs.replace(first, position=people[0])
    page = [accepted(second, one) for one in people[1:]]

    await Erasures(ours).scrub(people[2], bite=500)
    fresh = await slow.enqueue(second, page, None)

    assert fresh == 2
    assert sorted(await written_to(house, key)) == [people[0], people[1], people[3]]
    told = await until(house, herald, key, status="finished")
    assert (told["total"], told["enqueued"], await house.count("broadcast_recipients")) == (3, 3, 0)


class Halting(Broadcasts):
    """Stops within its transaction, with everything written, until it is let go."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.written, self.go = asyncio.Event(), asyncio.Event()

    async def _move(
        self, connection: Connection, broadcast: Kept, met: Sequence[UUID], position: UUID | None, fresh: int
    ) -> None:
        await super()._move(connection, broadcast, met, position, fresh)
        self.written.set()
        async with asyncio.timeout(20):
            await self.go.wait()


async def test_an_erasure_waits_for_whoever_enqueues_and_then_finds_what_they_wrote(
    house: House, ours: Database, herald: str
) -> None:
    (ada,) = crowd(house.around, 1)
    await begun(house, herald, metadata={"of": "Ada"})
    store, erasures = Halting(ours), Erasures(ours)
    claimed = await store.claim(lease_seconds=60)
    assert claimed is not None
    enqueuing = asyncio.create_task(store.enqueue(claimed, [accepted(claimed, ada)], None))
    async with asyncio.timeout(20):
        await store.written.wait()

    erasing = asyncio.create_task(erasures.scrub(ada, bite=500))
    await eventually(lambda: waits_for_a_lock(house), says="it waits")
    store.go.set()

    assert await enqueuing == 1
    assert await erasing == 1, "one notification is on its way"
    assert await house.sql.fetchval("SELECT metadata FROM gateway.notifications WHERE user_id = $1", ada) is None


async def waits_for_a_lock(house: House) -> bool:
    return bool(await house.sql.fetchval(HOW_MANY_WAIT))


async def test_taking_back_looks_at_no_more_rows_where_much_has_ended(
    house: House, ours: Database, herald: str
) -> None:
    people = sorted(crowd(house.around, 300))
    key = await begun(house, herald)
    await take_turn(terms_of(house, ours))
    ids = [row[0] for row in await house.sql.fetch("SELECT id FROM gateway.notifications ORDER BY id")]
    await house.sql.execute("UPDATE gateway.notifications SET status = 'delivered' WHERE id <= $1", ids[297])
    store = Broadcasts(ours)

    assert len(people) == len(ids)
    assert await store.pending(UUID(key), after=UUID(int=0), most=100) == ([], ids[99])
    assert await store.pending(UUID(key), after=ids[199], most=100) == (ids[298:], ids[299])
    assert await store.pending(UUID(key), after=ids[299], most=100) == ([], None)
    plan = await ours.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {PENDING}", UUID(key), UUID(int=0), 100)
    assert max(rows_of(plan[0]["Plan"])) <= 101, "a bite reads its hundred rows"
    await house.call("POST", f"/broadcasts/{key}/cancel", token=herald)
    await take_turn(terms_of(house, ours))
    async with house.loop("broadcasts"):
        told = await until(house, herald, key, status="cancelled", cancelled=2)
    assert (told["delivered"], told["pending"]) == (298, 0)


def accepted(broadcast: Kept, user_id: UUID) -> Acceptance:
    return acceptance_of(
        request_to(user_id, broadcast), notification_id=uuid7(), caller_id=broadcast.caller_id, correlation_id="c"
    )


def rows_of(plan: dict[str, Any]) -> list[float]:
    """What each of its steps read."""
    below = [rows for step in plan.get("Plans", ()) for rows in rows_of(step)]
    return [plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0), *below]


@dataclass
class Halted(FakeContacts):
    """Counts only once it is let go."""

    asked: int = 0
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def audience(self, wanted: AudienceFilter, *, after: UUID | None, count_only: bool = False) -> AudiencePage:
        if count_only:
            self.asked += 1
            async with asyncio.timeout(20):
                await self.go.wait()
        return await super().audience(wanted, after=after, count_only=count_only)


async def test_two_count_at_a_time_others_are_told_to_come_again_and_a_broadcast_begins_uncounted(
    around: Around, herald: str
) -> None:
    contacts = Halted()
    around.contacts = contacts
    crowd(around, 3)
    preview: dict[str, Any] = {"audience": {"filter": {}}}
    async with open_house(around) as house:
        counting = [
            asyncio.create_task(house.call("POST", "/broadcasts/preview", token=herald, json=preview)) for _ in range(2)
        ]

        async def both() -> bool:
            return contacts.asked == 2

        await eventually(both, says="both are counting")
        refused = await house.call("POST", "/broadcasts/preview", token=herald, json=preview)
        uncounted = await house.call("POST", "/broadcasts", token=herald, json=call_to())
        contacts.go.set()
        counted = await asyncio.gather(*counting)

        assert (refused.status, refused.body["error"], contacts.asked) == (503, "unavailable", 2)
        assert [(answer.status, answer.data["total"]) for answer in counted] == [(200, 3), (200, 3)]
        assert (uncounted.status, uncounted.data["status"], uncounted.data["total"]) == (201, "running", None)
        async with house.loop("broadcasts"):
            told = await until(house, herald, uncounted.data["broadcast_id"], status="finished")
        assert (told["total"], told["enqueued"]) == (3, 3)


async def test_while_nobody_can_count_a_broadcast_begins_and_its_total_is_known_once_all_are_met(
    house: House, ours: Database, herald: str
) -> None:
    crowd(house.around, 12, page=1)
    house.around.contacts.away = True

    preview = await house.call("POST", "/broadcasts/preview", token=herald, json={"audience": {"filter": {}}})
    key = await begun(house, herald)
    house.around.contacts.away = False
    await take_turn(terms_of(house, ours))
    midway = await until(house, herald, key, enqueued=10)
    await take_turn(terms_of(house, ours))

    assert preview.status == 503
    assert (midway["status"], midway["total"]) == ("running", None)
    assert (await until(house, herald, key, status="finished"))["total"] == 12


class Refusing(FakeContacts):
    """They tell that the gateway may not ask."""

    async def audience(self, wanted: AudienceFilter, *, after: UUID | None, count_only: bool = False) -> AudiencePage:
        raise ServiceRefused(403, "forbidden", "not yours")


async def test_where_counting_is_refused_no_broadcast_begins(around: Around, herald: str) -> None:
    around.contacts = Refusing()
    async with open_house(around) as house:
        refused = await house.call("POST", "/broadcasts", token=herald, json=call_to())

        assert (refused.status, refused.body["error"]) == (503, "unavailable")
        assert await house.sql.fetchval("SELECT count(*) FROM gateway.broadcasts") == 0
