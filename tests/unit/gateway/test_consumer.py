"""Reports from the queue: done when recorded, waiting while the tables are away, dead when they say nothing."""

import itertools
from dataclasses import replace
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.contracts.notifications import NotificationRequested
from carillon.contracts.users import UserErased
from carillon.gateway.consumer import erasures_handler, reports_handler
from carillon.gateway.domain import acceptance_of
from carillon.kit.broker.port import DeadLetter, Delivery, Done, Outcome, RetryAfter
from carillon.kit.ids import uuid7
from tests.unit.gateway.reports import delivered, encoded, failed, life, retried
from tests.unit.gateway.tables import Tables


def delivery(body: bytes) -> Delivery:
    return Delivery("status.queue", body, {}, uuid4(), redelivered=False, delivery_count=0)


@pytest.fixture
def tables() -> Tables:
    return Tables()


async def accepted(tables: Tables) -> UUID:
    key = uuid7()
    asked = NotificationRequested(
        notification_type="email",
        user_id=key,
        template_code="welcome",
        variables={"name": "Ada", "link": "https://example.com"},
        request_id=key.hex,
    )
    await tables.accept([acceptance_of(asked, notification_id=key, caller_id=key, correlation_id="c")])
    return key


async def test_each_message_gets_its_own_outcome_in_order(tables: Tables) -> None:
    key = await accepted(tables)
    handle = reports_handler(tables)

    outcomes = await handle([delivery(b"{"), delivery(encoded(delivered(key))), delivery(b"[]"), delivery(encoded())])

    assert outcomes == [DeadLetter("undecodable"), Done(), DeadLetter("undecodable"), Done()]
    assert tables.rows[key].status == "delivered"


@pytest.mark.parametrize(("looks", "rest"), [(0, 2.0), (3, 16.0), (5, 60.0), (10_000, 60.0)])
async def test_an_erasure_that_waits_is_looked_at_soon_and_then_less_often(looks: int, rest: float) -> None:
    class OneOnItsWay:
        async def scrub(self, _user_id: UUID, *, bite: int) -> int:
            return min(1, bite)

    again = replace(delivery(msgspec.json.encode(UserErased(uuid4()))), delivery_count=looks)

    assert await erasures_handler(OneOnItsWay())([again]) == [RetryAfter(rest, "notifications_pending")]


async def test_while_the_tables_are_away_reports_wait_and_do_not_die(tables: Tables) -> None:
    key = await accepted(tables)
    tables.away = True

    outcomes = await reports_handler(tables)([delivery(encoded(delivered(key))), delivery(b"nonsense")])

    assert isinstance(outcomes[0], RetryAfter)
    assert outcomes[1] == DeadLetter("undecodable")


async def test_one_unstorable_message_dies_alone(tables: Tables) -> None:
    good, bad = await accepted(tables), await accepted(tables)
    tables.refuses.add(str(bad))
    handle = reports_handler(tables)

    outcomes = await handle([delivery(encoded(retried(good, 1))), delivery(encoded(failed(bad)))])

    assert outcomes == [Done(), DeadLetter("unstorable")]
    assert tables.rows[good].stage == "retrying"


async def test_reports_of_unknown_notifications_are_done_with(tables: Tables) -> None:
    outcomes: list[Outcome] = list(await reports_handler(tables)([delivery(encoded(delivered(uuid7())))]))

    assert outcomes == [Done()]
    assert not tables.rows
    assert not tables.events


@given(st.permutations([0, 1, 2, 3, 4, 0, 2, 4]), st.lists(st.integers(0, 8), max_size=4))
async def test_any_order_repetition_and_grouping_gives_the_same_row_and_timeline(
    order: list[int], cuts: list[int]
) -> None:
    tables = Tables()
    key = await accepted(tables)
    reports = [life(key)[number] for number in order]
    edges = [0, *sorted(cuts), len(reports)]
    handle = reports_handler(tables)

    for start, end in itertools.pairwise(edges):
        await handle([delivery(encoded(*reports[start:end]))])

    assert tables.rows[key] == life(key)[4]
    assert {name for _, name in tables.events} == {step.key for report in life(key) for step in report.steps}
