"""Recording on a real PostgreSQL: reports in any order, any number of times, give the same row and timeline."""

import asyncio
import itertools
import random
from typing import Any, cast
from uuid import UUID, uuid4

import asyncpg
import msgspec

from carillon.contracts.channels import STATUS_QUEUE
from carillon.contracts.messages import DeliveryReported
from carillon.gateway.actions.record import record
from carillon.gateway.store.acceptances import FIND
from carillon.gateway.store.reports import RECORD, Reports
from carillon.gateway.store.session import steady
from carillon.kit.broker.port import Message
from carillon.kit.database import open_database
from carillon.kit.ids import uuid7
from tests.integration.gateway.house import Around, House
from tests.support.waiting import eventually
from tests.unit.gateway.reports import delivered, encoded, failed, life, retried


async def publish(house: House, *reports: DeliveryReported) -> None:
    await house.broker.publish([Message(STATUS_QUEUE, encoded(*reports))])


async def settled(house: House, key: UUID, status: str) -> dict[str, Any]:
    async def there() -> dict[str, Any] | None:
        found: dict[str, Any] = (await house.call("GET", f"/notifications/{key}")).data
        return found if found["status"] == status else None

    return cast(dict[str, Any], await eventually(there, says=f"{key} is {status}"))


async def test_a_report_becomes_the_status_and_the_timeline(house: House) -> None:
    key = await house.accepted()
    async with house.loop("recorder"):
        await publish(house, delivered(key, 2))
        found = await settled(house, key, "delivered")

    assert (found["stage"], found["attempts"], found["reason"]) == (None, 2, None)
    steps = (await house.call("GET", f"/notifications/{key}/timeline")).data["steps"]
    assert [step["kind"] for step in steps] == ["accepted", "looked_up", "delivered"]
    assert (steps[-1]["provider"], steps[-1]["attempt"], steps[-1]["detail"]) == ("smtp", 2, {"code": 250})


async def test_a_report_that_comes_again_writes_nothing(house: House) -> None:
    key, version = await house.accepted(), "SELECT xmin::text, updated_at FROM gateway.notifications WHERE id = $1"
    async with open_database(steady(house.around.dsn), name="recorder") as database:
        await record([retried(key, 1)], Reports(database))
        once = await house.sql.fetchrow(version, key)
        await record([retried(key, 1)], Reports(database))

    assert await house.sql.fetchrow(version, key) == once


async def test_a_retry_is_told_with_its_stage_and_error(house: House) -> None:
    key = await house.accepted()
    async with house.loop("recorder"), house.loop("relay"):
        await publish(house, retried(key, 1))

        async def retrying() -> bool:
            return bool((await house.call("GET", f"/notifications/{key}")).data["stage"] == "retrying")

        await eventually(retrying)

    found = (await house.call("GET", f"/notifications/{key}/status")).data
    assert (found["status"], found["error"], found["attempts"]) == ("pending", "451 try later", 1)


async def test_an_explanation_says_why_in_one_sentence_and_in_order(house: House) -> None:
    refused, under_way = await house.accepted(), await house.accepted()
    async with house.loop("recorder"), house.loop("relay"):
        await publish(house, retried(refused, 1), failed(refused, reason="550 no such mailbox."), retried(under_way, 1))
        await settled(house, refused, "failed")
        await eventually(lambda: _relayed(house))

    ended = (await house.call("GET", f"/notifications/{refused}/explain")).data
    waiting = (await house.call("GET", f"/notifications/{under_way}/explain")).data

    assert ended["summary"] == "It did not reach the user. Reason: 550 no such mailbox."
    kinds = [reason["kind"] for reason in ended["reasons"]]
    assert kinds[0] == "accepted"
    given_up = next(reason for reason in ended["reasons"] if reason["kind"] == "failed")
    assert given_up["sentence"] == "It was given up (attempt 8): 550 no such mailbox."
    assert sorted(kinds[1:]) == ["attempt_failed", "failed", "looked_up", "queued"]
    tried = next(reason for reason in ended["reasons"] if reason["kind"] == "attempt_failed")
    assert (tried["sentence"], tried["detail"]) == ("The attempt failed (attempt 1).", {"attempt": 1})
    assert (waiting["status"], waiting["stage"]) == ("pending", "retrying")
    assert waiting["summary"] == "It was tried and will be tried again. Reason: 451 try later."


async def _relayed(house: House) -> bool:
    return await house.count("outbox") == 0


async def test_every_order_of_reports_ends_the_same(around: Around, house: House) -> None:
    orders = list(itertools.permutations(range(5)))
    keys = [await house.accepted() for _ in orders]
    async with open_database(steady(around.dsn), name="recorder") as database:
        store = Reports(database)
        for turn in range(5):  # the n-th report of every order, together in one batch
            await record([life(key)[order[turn]] for key, order in zip(keys, orders, strict=True)], store)

    rows = await house.sql.fetch(
        "SELECT DISTINCT status, stage, generation, rank, attempts, reason, error, next_expected_at"
        " FROM gateway.notifications"
    )
    assert [tuple(row) for row in rows] == [("delivered", None, 1, 3000, 2, None, None, None)]
    timelines = await house.sql.fetch(
        "SELECT DISTINCT array_agg(key || ' ' || at ORDER BY key) FROM gateway.notification_events"
        " GROUP BY notification_id"
    )
    assert len(timelines) == 1
    assert len(timelines[0][0]) == 7


async def test_a_late_word_on_a_former_generation_undoes_nothing_of_what_was_queued_anew(house: House) -> None:
    key = await house.accepted()
    async with open_database(steady(house.around.dsn), name="recorder") as database:
        await record([retried(key, 1, generation=1)], Reports(database))
        await record([failed(key)], Reports(database))

    found = (await house.call("GET", f"/notifications/{key}")).data
    assert (found["status"], found["stage"], found["attempts"]) == ("pending", "retrying", 1)


async def test_recorders_with_the_same_notifications_never_deadlock(around: Around, house: House) -> None:
    keys = [await house.accepted() for _ in range(40)]
    reports = [report for key in keys for report in life(key)] * 2
    chance = random.Random(7)
    async with open_database(steady(around.dsn), name="recorder") as database:
        store = Reports(database)
        for _ in range(5):
            mixed = [chance.sample(reports, len(reports)) for _ in range(4)]
            await asyncio.gather(*(record(one, store) for one in mixed))

    assert await house.sql.fetchval("SELECT count(*) FROM gateway.notifications WHERE status = 'delivered'") == 40
    assert await house.count("notification_events") == 40 * 7
    assert await house.sql.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0


async def test_unknown_notifications_are_passed_over_and_leave_nothing_behind(house: House) -> None:
    key = await house.accepted()
    async with house.loop("recorder"):
        await publish(house, delivered(uuid7()), delivered(key), failed(uuid4()))
        await settled(house, key, "delivered")

    owners = await house.sql.fetch("SELECT DISTINCT notification_id FROM gateway.notification_events")
    assert [row[0] for row in owners] == [key]


async def test_an_unreadable_message_dies_and_its_neighbours_are_recorded(house: House) -> None:
    key = await house.accepted()
    await house.broker.publish([Message(STATUS_QUEUE, b'{"reports": 1}'), Message(STATUS_QUEUE, b"\xff")])
    await publish(house, delivered(key))
    async with house.loop("recorder"):
        await settled(house, key, "delivered")
        await eventually(lambda: _dead(house, 2))


async def test_an_unstorable_message_dies_and_its_neighbours_are_recorded(house: House) -> None:
    key, other = await house.accepted(), await house.accepted()
    huge = msgspec.structs.replace(delivered(other), attempts=2**40)
    await publish(house, huge)
    await publish(house, delivered(key))
    async with house.loop("recorder"):
        await settled(house, key, "delivered")
        await eventually(lambda: _dead(house, 1))


async def test_a_nul_in_a_providers_words_is_replaced(house: House) -> None:
    key = await house.accepted()
    async with house.loop("recorder"):
        await publish(house, failed(key, reason="550 \x00 gone"))
        found = await settled(house, key, "failed")

    assert found["reason"] == "550 \ufffd gone"


async def _dead(house: House, count: int) -> bool:
    query = "SELECT count(*) FROM broker.messages WHERE queue = 'failed.queue'"
    return bool(await house.sql.fetchval(query) == count)


async def test_a_plan_made_for_an_empty_month_still_suits_a_full_one(around: Around, house: House) -> None:
    connection = await asyncpg.connect(steady(around.dsn), timeout=10, command_timeout=60)
    try:
        await connection.set_type_codec("json", schema="pg_catalog", encoder=str, decoder=str)
        await house.sql.execute("ANALYZE gateway.notifications")
        for sql in (RECORD, FIND):
            kinds = ", ".join(_KINDS[sql])
            await connection.execute(f"PREPARE p{len(sql)} ({kinds}) AS {sql}")
            for _ in range(8):  # past the point at which it gets the plan that it keeps
                await connection.execute(f"EXECUTE p{len(sql)} ({', '.join(_NOTHING[sql])})")
            lines = await connection.fetch(f"EXPLAIN (COSTS OFF) EXECUTE p{len(sql)} ({', '.join(_NOTHING[sql])})")
            plan = "\n".join(line[0] for line in lines)
            assert "Seq Scan" not in plan
            for scan in plan.split("Index Scan using")[1:]:
                assert "Index Cond" in scan.split("->")[0], plan
    finally:
        await connection.close(timeout=5)


_KINDS = {
    RECORD: (
        *("uuid[]", "int[]", "int[]", "text[]", "text[]", "text[]", "text[]", "int[]", "timestamptz[]"),
        *("uuid[]", "text[]", "text[]", "timestamptz[]", "text[]", "int[]", "text[]", "json[]"),
    ),
    FIND: ("uuid[]", "text[]"),
}
_NOTHING = {sql: ["'{}'"] * len(kinds) for sql, kinds in _KINDS.items()}
