"""The relay on a real PostgreSQL: nothing is lost between the outbox and the broker, and little comes twice."""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from carillon.contracts.messages import CORRELATION_HEADER
from carillon.gateway.actions.relay import Relaying, relay, relay_once
from carillon.gateway.store.outbox import CLAIM, SETTLE, Outbox
from carillon.gateway.store.session import steady
from carillon.kit.broker.port import BrokerUnavailable, Message
from carillon.kit.database import open_database
from tests.integration.gateway.house import Around, House, drained, open_house
from tests.support.waiting import eventually


class Trouble:
    """A broker that can be away, or die between confirming and answering."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.away = False
        self.dies_after_publishing = False
        self.hold = asyncio.Event()
        self.hold.set()
        self.entered = asyncio.Event()

    async def publish(self, messages: Sequence[Message]) -> None:
        self.entered.set()
        await self.hold.wait()
        if self.away:
            raise BrokerUnavailable("no broker there")
        await self._house.broker.publish(messages)
        if self.dies_after_publishing:
            raise SystemError("killed")


@contextlib.asynccontextmanager
async def relaying(house: House, broker: Any = None, **terms: Any) -> Any:
    async with open_database(steady(house.around.dsn), name="relay") as database:
        yield Relaying(Outbox(database), broker or house.broker, asyncio.Event(), **terms)


async def test_what_was_accepted_reaches_the_queue_and_the_timeline_says_so(house: House) -> None:
    async with house.loop("relay"):
        ids = [await house.accepted() for _ in range(3)]
        await eventually(lambda: emptied(house))

    messages = await house.messages()
    assert [message.notification_id for message in messages] == ids
    assert messages[0].variables == {"name": "Ada", "link": "https://example.com/x", "meta": None}
    headers = await house.sql.fetchval("SELECT headers FROM broker.messages LIMIT 1")
    assert messages[0].correlation_id in headers
    assert CORRELATION_HEADER in headers
    timeline = (await house.call("GET", f"/notifications/{ids[0]}/timeline")).data
    assert (timeline["stage"], [step["kind"] for step in timeline["steps"]]) == ("queued", ["accepted", "queued"])


async def emptied(house: House) -> bool:
    return await house.count("outbox") == 0


async def test_a_crash_between_confirm_and_delete_repeats_messages_and_loses_none(house: House) -> None:
    ids = [await house.accepted() for _ in range(5)]
    broker = Trouble(house)
    broker.dies_after_publishing = True
    async with relaying(house, broker) as terms:
        with contextlib.suppress(SystemError):
            await relay_once(terms)
        assert await house.count("outbox") == 5
        await house.sql.execute("UPDATE gateway.outbox SET lease_until = now() - interval '1 s'")
        broker.dies_after_publishing = False
        await relay_once(terms)

    assert await house.count("outbox") == 0
    published = [message.notification_id for message in await house.messages()]
    assert sorted(published) == sorted(ids * 2)
    assert await house.count("notification_events") == 5


async def test_two_relays_at_once_publish_each_message_once(house: House) -> None:
    ids = {await house.accepted() for _ in range(40)}
    async with (
        relaying(house, size=7) as one,
        relaying(house, size=7) as other,
        drained(lambda: relay(one)),
        drained(lambda: relay(other)),
    ):
        await eventually(lambda: emptied(house))

    published = [message.notification_id for message in await house.messages()]
    assert len(published) == 40
    assert set(published) == ids


async def test_a_leased_message_is_left_alone_until_the_lease_ends(house: House) -> None:
    await house.accepted()
    async with relaying(house, lease_seconds=30.0) as terms:
        first = await terms.outbox.claim(10, lease_seconds=30)
        meanwhile = await terms.outbox.claim(10, lease_seconds=30)
        await house.sql.execute("UPDATE gateway.outbox SET lease_until = now() - interval '1 ms'")
        afterwards = await terms.outbox.claim(10, lease_seconds=30)

    assert (len(first), len(meanwhile), len(afterwards)) == (1, 0, 1)


async def test_a_relay_that_froze_past_its_lease_disturbs_nothing_of_the_next_one(house: House) -> None:
    await house.accepted()
    async with relaying(house) as terms:
        frozen = await terms.outbox.claim(10, lease_seconds=0)
        await house.sql.execute("SELECT pg_sleep(0.01)")
        leased = await terms.outbox.claim(10, lease_seconds=30)
        await terms.outbox.give_back(frozen, rest_seconds=0, maybe_sent=True)
        await terms.outbox.settle(frozen, datetime.now(UTC))
        rows = await house.sql.fetch("SELECT notification_id, lease_until FROM gateway.outbox")

    assert [tuple(row) for row in rows] == [(leased[0].notification_id, leased[0].lease_until)]


async def test_no_lock_is_held_and_no_transaction_open_while_the_broker_is_waited_for(house: House) -> None:
    await house.accepted()
    broker = Trouble(house)
    broker.hold.clear()
    async with relaying(house, broker) as terms:
        round_in_hand = asyncio.create_task(relay_once(terms))
        await asyncio.wait_for(broker.entered.wait(), 10)
        row = await house.sql.fetchrow("SELECT * FROM gateway.outbox FOR UPDATE NOWAIT")
        idle = await house.sql.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
        )
        broker.hold.set()
        await round_in_hand

    assert row is not None
    assert idle == 0
    assert await emptied(house)


async def test_while_the_broker_is_away_acceptance_goes_on_and_delivery_resumes_by_itself(house: House) -> None:
    broker = Trouble(house)
    broker.away = True
    async with relaying(house, broker) as terms, drained(lambda: relay(terms)):
        first = await house.accepted()
        await asyncio.wait_for(broker.entered.wait(), 10)
        second = await house.accepted()
        assert await house.count("outbox") == 2
        broker.away = False
        await eventually(lambda: emptied(house))

    assert {message.notification_id for message in await house.messages()} == {first, second}


async def test_a_stopped_relay_finishes_the_round_in_hand(house: House) -> None:
    await house.accepted()
    broker = Trouble(house)
    broker.hold.clear()
    async with relaying(house, broker) as terms:
        task = asyncio.create_task(relay(terms))
        await asyncio.wait_for(broker.entered.wait(), 10)
        task.cancel()
        broker.hold.set()
        await asyncio.gather(task, return_exceptions=True)

        assert task.cancelled()
        assert await emptied(house)
    assert len(await house.messages()) == 1


async def test_a_message_the_broker_refuses_rests_and_lets_others_pass(house: House) -> None:
    refused, fine = await house.accepted(), await house.accepted()
    await house.sql.execute("UPDATE gateway.outbox SET queue = 'nowhere' WHERE notification_id = $1", refused)
    async with relaying(house) as terms:
        done = await relay_once(terms)

    assert (done.claimed, done.published) == (2, 1)
    assert [message.notification_id for message in await house.messages()] == [fine]
    row = await house.sql.fetchrow("SELECT lease_until > now() + interval '3 s', maybe_sent FROM gateway.outbox")
    assert list(row) == [True, True]


@pytest.mark.parametrize("trouble", ["the broker is away", "the broker refuses"])
async def test_what_is_given_back_has_waited_as_long_as_before(house: House, trouble: str) -> None:
    kept = await house.accepted()
    await house.sql.execute("UPDATE gateway.outbox SET available_at = now() - interval '1 h'")
    broker = Trouble(house)
    if trouble == "the broker refuses":
        await house.sql.execute("UPDATE gateway.outbox SET queue = 'nowhere' WHERE notification_id = $1", kept)
    else:
        broker.away = True
    async with relaying(house, broker) as terms:
        assert (await relay_once(terms)).published == 0
        waiting, oldest = await terms.outbox.backlog()

    assert (waiting, oldest >= 3_600) == (1, True)


async def test_one_claim_takes_no_more_than_it_asked_for(house: House) -> None:
    await fill_outbox(house.sql, 3_000)
    async with relaying(house) as terms:
        claimed = await terms.outbox.claim(500, lease_seconds=30)

    assert len(claimed) == 500
    assert await house.sql.fetchval("SELECT count(*) FROM gateway.outbox WHERE lease_until IS NOT NULL") == 500


async def test_the_plan_stays_on_the_indexes_at_a_backlog_of_sixty_thousand(around: Around) -> None:
    async with open_house(around) as house:
        await fill_outbox(house.sql, 60_000)
        # The statistics are taken while every row is leased: they say that there is never anything to claim.
        await house.sql.execute("UPDATE gateway.outbox SET lease_until = now() + interval '1 h'")
        await house.sql.execute("ANALYZE gateway.outbox")
        await house.sql.execute("UPDATE gateway.outbox SET lease_until = NULL")
    connection = await asyncpg.connect(steady(around.dsn), timeout=10, command_timeout=60)
    try:
        await connection.set_type_codec("json", schema="pg_catalog", encoder=str, decoder=str)
        for _ in range(8):  # past the point at which a prepared statement gets its generic plan
            plan = await explained(connection, CLAIM, 500, 30.0)
            rows = await connection.fetch(CLAIM, 500, 30.0)
            ids, lease = [row[0] for row in rows], rows[0]["lease_until"]
            settle = [ids, lease, ["k"] * 500, [datetime.now(UTC)] * 500, ["{}"] * 500]
            settling = await explained(connection, SETTLE, *settle)
            await connection.execute(SETTLE, *settle)
    finally:
        await connection.close(timeout=5)

    assert "Index Scan using outbox_due" in plan
    assert "Sort" not in plan
    assert "Seq Scan" not in plan + settling
    assert "Index Scan using outbox_pkey" in settling
    assert "Index Cond: (notification_id = ANY" in settling


async def explained(connection: asyncpg.Connection, sql: str, *arguments: Any) -> str:
    """The plan as it runs now, undone afterwards."""
    transaction = connection.transaction()
    await transaction.start()
    rows = await connection.fetch(f"EXPLAIN (ANALYZE, COSTS OFF) {sql}", *arguments)
    await transaction.rollback()
    return "\n".join(row[0] for row in rows)


async def fill_outbox(sql: asyncpg.Connection, rows: int) -> None:
    await sql.execute(
        """
        INSERT INTO gateway.outbox (notification_id, queue, correlation_id, body, available_at)
        SELECT gen_random_uuid(), 'email.queue', 'c', repeat('x', 600)::bytea, now() - n * interval '1 ms'
        FROM generate_series(1, $1::integer) AS n
        """,
        rows,
    )
