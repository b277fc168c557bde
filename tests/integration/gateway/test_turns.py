"""A backlog on a real PostgreSQL: high lanes first, callers by turns, at a cost that does not grow with it."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import asyncpg
import pytest

from carillon.gateway.actions.relay import Relaying, relay
from carillon.gateway.actions.room import Room
from carillon.gateway.domain import Due
from carillon.gateway.store.outbox import Outbox
from carillon.gateway.store.session import steady
from carillon.gateway.store.turns import TAKE_TURNS
from carillon.gateway.turns import QUEUES, Turn
from carillon.kit.broker.port import Delivery, Done
from carillon.kit.database import open_database
from tests.integration.gateway.house import Around, House, drained, open_house
from tests.integration.gateway.test_relaying import emptied, explained
from tests.integration.gateway.test_schedules import most_rows
from tests.support.waiting import eventually

FLOOD, VICTIM, OTHER = UUID(int=5), UUID(int=9), UUID(int=1)


async def fill(
    sql: asyncpg.Connection, rows: int, caller: UUID, queue: str = "email.queue", *, age: float = 1.0
) -> None:
    """Of one caller; `age` in seconds, below zero for what is not due yet."""
    await sql.execute(
        """
        INSERT INTO gateway.outbox (notification_id, caller_id, queue, correlation_id, body, available_at)
        SELECT gen_random_uuid(), $2, $3, 'c', '{}', now() - ($4 + n * 0.000001) * interval '1 second'
        FROM generate_series(1, $1::integer) AS n
        """,
        *(rows, caller, queue, age),
    )


async def taken(house: House, turns: Sequence[Turn], size: int = 500) -> list[Due]:
    async with open_database(steady(house.around.dsn), name="turns") as database:
        return await Outbox(database).take_turns(turns, size, lease_seconds=30)


def callers(claimed: Sequence[Due]) -> dict[int, int]:
    return dict(Counter(due.caller_id.int for due in claimed))


async def test_a_flood_leaves_the_others_their_turns_and_takes_what_they_leave(house: House) -> None:
    await fill(house.sql, 3_000, FLOOD, age=60)
    await fill(house.sql, 5, VICTIM)
    await fill(house.sql, 90, OTHER)

    assert callers(await taken(house, [Turn("email.queue", 300)])) == {1: 90, 5: 205, 9: 5}


async def test_of_one_caller_what_waited_longest_goes_first(house: House) -> None:
    await fill(house.sql, 20, FLOOD)
    await fill(house.sql, 3, FLOOD, age=60)
    oldest = {
        row[0]
        for row in await house.sql.fetch("SELECT notification_id FROM gateway.outbox ORDER BY available_at LIMIT 3")
    }

    assert {due.notification_id for due in await taken(house, [Turn("email.queue", 3)])} == oldest


async def test_high_goes_before_normal_and_bulk_last_however_old_it_is(house: House) -> None:
    await fill(house.sql, 50, FLOOD, "email.bulk.queue", age=60)
    await fill(house.sql, 50, FLOOD, "push.queue", age=30)
    await fill(house.sql, 4, VICTIM, "email.high.queue")
    every = [Turn(queue, 40) for queue in QUEUES]

    first, second = await taken(house, every, 30), await taken(house, every, 30)
    assert Counter(due.queue for due in first) == {"email.high.queue": 4, "push.queue": 26}
    assert Counter(due.queue for due in second) == {"push.queue": 24, "email.bulk.queue": 6}


async def test_where_there_are_more_callers_than_room_nobody_has_two_turns_more_than_another(house: House) -> None:
    for caller in range(1, 8):
        await fill(house.sql, 5, UUID(int=caller))
    room, served = Room(house.broker.lengths, 6), Counter[int]()
    async with open_database(steady(house.around.dsn), name="turns") as database:
        for _ in range(7):
            turns = [turn for turn in room.turns(3) if turn.queue == "email.queue"]
            claimed = await Outbox(database).take_turns(turns, 500, lease_seconds=30)
            room.served(turns, claimed)
            served.update(callers(claimed))
            had = [served[caller] for caller in range(1, 8)]
            assert (len(claimed), max(had) - min(had) <= 1) == (3, True), had


async def test_what_is_not_due_or_leased_is_left_and_takes_nobodys_share(house: House) -> None:
    await fill(house.sql, 50, OTHER, age=-3_600)
    await fill(house.sql, 20, FLOOD)
    leased = await taken(house, [Turn("email.queue", 10)])
    again = await taken(house, [Turn("email.queue", 15)])

    assert (callers(leased), callers(again)) == ({5: 10}, {5: 10})
    assert not {due.notification_id for due in leased} & {due.notification_id for due in again}


@contextlib.asynccontextmanager
async def relaying(house: House, bound: int, size: int = 500) -> AsyncIterator[Relaying]:
    async with open_database(steady(house.around.dsn), name="relay") as database:
        room = Room(house.broker.lengths, bound, every=0.01)
        yield Relaying(Outbox(database), house.broker, asyncio.Event(), room, size=size)


READY = "SELECT count(*) FROM broker.messages WHERE queue = 'email.queue' AND lease IS NULL"


async def test_a_flood_waits_in_the_outbox_and_who_comes_later_is_not_behind_it(house: House) -> None:
    await fill(house.sql, 300, FLOOD)
    arrived: list[UUID] = []
    most_ready = 0

    async def take(deliveries: Sequence[Delivery]) -> Sequence[Done]:
        nonlocal most_ready
        most_ready = max(most_ready, await house.sql.fetchval(READY))
        arrived.extend(delivery.message_id for delivery in deliveries)
        return [Done()] * len(deliveries)

    async with relaying(house, bound=20) as terms, drained(lambda: relay(terms)):
        await eventually(lambda: full(house, 20))
        await fill(house.sql, 1, VICTIM)
        victim = await house.sql.fetchval("SELECT notification_id FROM gateway.outbox WHERE caller_id = $1", VICTIM)
        await fill(house.sql, 1, OTHER, "email.high.queue")
        await eventually(lambda: taken_over(house, "email.high.queue"))
        assert await house.sql.fetchval(READY) == 20
        await eventually(lambda: waiting(house, 281))
        async with drained(lambda: house.broker.consume("email.queue", take, size=5, in_flight=1)):
            await eventually(lambda: len(arrived) == 301, within=60)

    assert arrived.index(victim) < 60
    assert len(set(arrived)) == 301
    assert most_ready <= 20
    assert await emptied(house)


async def full(house: House, length: int) -> bool:
    return bool(await house.sql.fetchval(READY) == length)


async def waiting(house: House, rows: int) -> bool:
    return await house.count("outbox") == rows


async def taken_over(house: House, queue: str) -> bool:
    return bool(await house.sql.fetchval("SELECT EXISTS (SELECT FROM broker.messages WHERE queue = $1)", queue))


async def test_two_relays_that_take_turns_publish_each_message_once(house: House) -> None:
    for caller in (FLOOD, VICTIM, OTHER):
        await fill(house.sql, 60, caller)
    async with (
        relaying(house, 1_000, size=7) as one,
        relaying(house, 1_000, size=7) as other,
        drained(lambda: relay(one)),
        drained(lambda: relay(other)),
    ):
        await eventually(lambda: emptied(house))

    ids = [row[0] for row in await house.sql.fetch("SELECT id FROM broker.messages")]
    assert (len(ids), len(set(ids))) == (180, 180)


@pytest.mark.timeout(120)
async def test_the_plan_stays_on_the_indexes_at_a_backlog_of_a_hundred_thousand_of_one_caller(around: Around) -> None:
    async with open_house(around) as house:
        await fill(house.sql, 100_000, FLOOD)
        for caller in range(20, 40):
            await fill(house.sql, 100, UUID(int=caller), age=-3_600)
        await fill(house.sql, 3, VICTIM)
        turns = [Turn(queue, 500) for queue in QUEUES]
        asked = [list(column) for column in zip(*((t.queue, t.lane, t.room, t.past) for t in turns), strict=True)]
        connection = await asyncpg.connect(steady(around.dsn), timeout=10, command_timeout=60)
        try:
            # Past the change to a generic plan; then with statistics, which are never collected otherwise.
            plans = [await explained(connection, TAKE_TURNS, *asked, 500, 30.0) for _ in range(7)]
            await house.sql.execute("ANALYZE gateway.outbox")
            plans += [await explained(connection, TAKE_TURNS, *asked, 500, 30.0) for _ in range(7)]
            claimed = await connection.fetch(TAKE_TURNS, *asked, 500, 30.0)
        finally:
            await connection.close(timeout=5)

    assert Counter(row["caller_id"] for row in claimed) == {FLOOD: 497, VICTIM: 3}
    for plan in (plans[0], plans[6], plans[13]):
        assert "using outbox_turns" in plan
        assert "Seq Scan on outbox" not in plan
        assert most_rows(plan) <= 600, plan


async def test_a_message_waits_for_its_caller_and_under_its_channel_and_lane(house: House) -> None:
    await house.accepted(priority=9)
    rows = await house.sql.fetch(
        "SELECT o.queue, o.caller_id = n.caller_id FROM gateway.outbox o, gateway.notifications n"
    )

    assert tuple(rows[0]) == ("email.high.queue", True)
