"""Finding the few that have not ended among a great many costs each notification one look, whatever came before."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import msgspec
import pytest

from carillon.contracts.channels import FAILED_QUEUE, STATUS_QUEUE
from carillon.gateway.actions.reconcile import reconcile
from carillon.gateway.domain import key_from
from carillon.gateway.store import watched
from carillon.gateway.store.session import STEADY, steady
from carillon.gateway.store.watched import WatchedNotifications
from carillon.gateway.watching import QUEUES
from carillon.kit.database import open_database
from tests.integration.gateway.holes import outbox, pass_time, reconciler
from tests.integration.gateway.house import House

_MANY = 20_000
_FILL = """
INSERT INTO gateway.notifications (
    id, caller_id, request_id, channel, user_id, template_code, priority, correlation_id, created_at, updated_at, status
)
SELECT (lpad(to_hex((extract(epoch FROM $1::timestamptz) * 1000)::bigint + i / 10), 12, '0')
        || '7000a000' || lpad(to_hex(i), 12, '0'))::uuid,
    gen_random_uuid(), 'r' || i, 'email', gen_random_uuid(), 'welcome', 5, 'c', $1, $1,
    CASE WHEN i % 1000 = 0 THEN 'pending' ELSE 'delivered' END
FROM generate_series(1, $2) AS i
"""


async def filled(house: House, age: timedelta, count: int = _MANY) -> None:
    await house.sql.execute(_FILL, datetime.now(UTC) - age, count)


async def buffers(house: House, sql: str, *arguments: object) -> tuple[int, str]:
    """Pages touched, and the plan."""
    connection = await asyncpg.connect(steady(house.around.dsn), timeout=10, command_timeout=30)
    try:
        rows = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) {sql}", *arguments)
    finally:
        await connection.close(timeout=5)
    plan = "\n".join(row[0] for row in rows)
    told = next(line for line in plan.splitlines() if "Buffers:" in line)
    return sum(int(word.partition("=")[2]) for word in told.split() if word.startswith(("hit=", "read="))), plan


async def test_everything_is_read_once_and_only_what_has_not_ended_is_remembered(house: House) -> None:
    await filled(house, timedelta(minutes=30))
    async with reconciler(house) as reconciling:
        reconciling.size = 5_000
        await reconcile(reconciling)
        assert await house.count("watched_notifications") == _MANY // 1000
        marks = {row["name"]: row["up_to"] for row in await house.sql.fetch("SELECT * FROM gateway.watch_marks")}
        newest = await house.sql.fetch("SELECT id FROM gateway.notifications ORDER BY id DESC LIMIT 2")
        last, last_delivered = (row[0] for row in newest)
        read = {"first": last, "second": UUID(int=0)}
        assert marks == read | dict.fromkeys(("email.queue", STATUS_QUEUE), last_delivered)
        soon = await reconciling.store.now() + timedelta(minutes=1)
        assert await reconciling.store.pass_over("first", soon, limit=10) == 0, "there is nothing that is new"


async def test_a_bite_costs_the_pages_of_its_rows_however_many_lie_before_and_behind_it(house: House) -> None:
    await filled(house, timedelta(minutes=30))
    middle = await house.sql.fetchval("SELECT id FROM gateway.notifications ORDER BY id OFFSET 10000 LIMIT 1")
    until = key_from(datetime.now(UTC))

    pages, plan = await buffers(house, watched._BITE, middle, until, 100)

    assert STEADY["enable_seqscan"] == "off"
    assert "Seq Scan" not in plan, plan
    assert pages < 60, plan


async def test_what_has_arrived_of_the_dead_letters_is_one_row_of_an_index(house: House) -> None:
    await house.sql.execute(
        "INSERT INTO gateway.dead_letters (id, fingerprint, message_id, notification_id, queue, cause, reason,"
        " attempts, died_at, reported)"
        " SELECT k, k, k, CASE WHEN i % 3 > 0 THEN k END, 'email.queue', 'x', 'x', 1, now(), true"
        " FROM (SELECT i, md5(i::text)::uuid AS k FROM generate_series(1, 3000) AS i) AS g"
    )

    pages, plan = await buffers(house, watched._PASSED_ON, QUEUES, FAILED_QUEUE, UUID(int=2**127))

    assert "Backward using dead_letters_of_notification" in plan
    assert "Seq Scan on dead_letters" not in plan
    assert pages < 20, plan


async def test_looking_costs_only_those_whose_time_has_come(house: House) -> None:
    await filled(house, timedelta(minutes=30))
    await house.sql.execute(
        "INSERT INTO gateway.watched_notifications (notification_id, look_at) "
        "SELECT id, now() + interval '1 hour' FROM gateway.notifications"
    )
    due = [
        row["notification_id"]
        for row in await house.sql.fetch(
            "UPDATE gateway.watched_notifications SET look_at = now() - interval '1 second' "
            "WHERE notification_id = ANY(ARRAY(SELECT id FROM gateway.notifications LIMIT 10)) "
            "RETURNING notification_id"
        )
    ]

    for sql, argument in ((watched._TAKE, 100), (watched._LOOK, due)):
        pages, plan = await buffers(house, sql, argument)
        assert "Seq Scan" not in plan, plan
        assert pages < 250, plan


@pytest.mark.parametrize(("second", "age"), [(86_400.0, timedelta(hours=25)), (300.0, timedelta(minutes=10))])
async def test_what_a_slow_clock_hid_from_the_first_look_is_found_by_the_second(
    house: House, second: float, age: timedelta
) -> None:
    await house.sql.execute(
        "UPDATE gateway.watch_marks SET up_to = $1 WHERE name = 'first'", key_from(datetime.now(UTC))
    )
    await filled(house, age, 1000)
    async with reconciler(house) as reconciling:
        reconciling.bounds = msgspec.structs.replace(reconciling.bounds, second=second * 10)
        await reconcile(reconciling)
        assert await house.count("watched_notifications") == 0, "not old enough"
        reconciling.bounds = msgspec.structs.replace(reconciling.bounds, second=second)
        await reconcile(reconciling)

    assert await house.count("watched_notifications") == 1


async def test_of_two_replicas_one_reads_on_and_the_other_finds_the_mark_taken(house: House) -> None:
    await filled(house, timedelta(minutes=30), 1000)
    until = datetime.now(UTC)
    async with open_database(steady(house.around.dsn), name="other") as database:
        store = WatchedNotifications(database)
        async with house.sql.transaction():
            await house.sql.execute("SELECT FROM gateway.watch_marks WHERE name = 'first' FOR UPDATE")
            assert await store.pass_over("first", until, limit=10) == 0
        assert await store.pass_over("first", until, limit=10) == 10


async def test_what_is_accepted_is_found_by_its_key_once_it_is_old_enough(house: House) -> None:
    key = await house.accepted()
    async with reconciler(house) as reconciling:
        await reconcile(reconciling)
        assert await house.count("watched_notifications") == 0, "it is too young"
        await reconciling.store.pass_over("first", datetime.now(UTC) + timedelta(seconds=5), limit=10)
        assert await house.count("watched_notifications") == 1
        await pass_time(house, 120)
        await reconcile(reconciling)
    assert await outbox(house) == {key: 0}
