"""What has ended leaves with its month, keys and timeline included; what has not holds it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from carillon.contracts.retention import deliveries_kept_days
from carillon.gateway.actions.retire import retire
from carillon.gateway.domain import Month, month_named
from carillon.gateway.store.partitions import Partitions
from carillon.gateway.store.retirements import DROP_KEYS, REVIVED, Retirements
from carillon.gateway.store.session import steady
from carillon.kit.database import Database, open_database
from carillon.kit.ids import uuid7
from tests.integration.gateway.house import Around, House
from tests.support.waiting import eventually

_OLD = "2020_02"
_PUT = """
INSERT INTO gateway.notifications (
    id, caller_id, request_id, channel, user_id, template_code, priority, correlation_id, status, created_at, updated_at
)
SELECT id, $2, 'r-' || id, 'email', $2, 'welcome', 5, 'c', $3, now(), now() FROM unnest($1::uuid[]) AS g (id)
"""
_KEYS = """
INSERT INTO gateway.idempotency_keys (caller_id, request_id, notification_id, body_hash)
SELECT $2, 'r-' || id, id, 'x' FROM unnest($1::uuid[]) AS g (id)
"""
_STEPS = """
INSERT INTO gateway.notification_events (notification_id, key, kind, at)
SELECT id, '0.0.queued', 'queued', now() FROM unnest($1::uuid[]) AS g (id)
"""
_LETTER = """
INSERT INTO gateway.dead_letters (
    id, fingerprint, message_id, notification_id, queue, cause, reason, attempts, died_at, reported, replayed_at
) VALUES ($1, $1, $1, $2, 'email.queue', 'x', 'x', 1, now(), true, $3)
"""
_MONTHS = "SELECT relname FROM pg_class WHERE relname ~ '^notification(s|_events)_2020' AND relkind = 'r' ORDER BY 1"


@pytest.fixture
async def ours(around: Around) -> AsyncIterator[Database]:
    async with open_database(steady(around.dsn), name="ours") as database:
        yield database


@pytest.fixture
async def theirs(around: Around) -> AsyncIterator[Database]:
    async with open_database(steady(around.dsn), name="theirs") as database:
        yield database


async def month_of(house: House, database: Database, name: str = _OLD) -> Month:
    month = month_named(name)
    await Partitions(database).ensure([month])
    assert await house.sql.fetchval("SELECT to_regclass($1) IS NOT NULL", f"gateway.notifications_{name}")
    return month


class At(Retirements):
    """At a time of the test's."""

    def __init__(self, database: Database, moment: datetime) -> None:
        super().__init__(database)
        self._moment = moment

    async def now(self) -> datetime:
        return self._moment


def keys_at(*moments: datetime) -> list[UUID]:
    return [uuid7(int(moment.timestamp() * 1000)) for moment in moments]


def middle(month: Month) -> datetime:
    return datetime.fromtimestamp((month.first.int >> 80) / 1000, UTC) + timedelta(days=15)


async def kept(house: House, keys: Sequence[UUID], *, status: str = "delivered", caller: UUID | None = None) -> None:
    """As they stand in the tables long after they were accepted."""
    caller = caller or uuid7()
    await house.sql.execute(_PUT, keys, caller, status)
    await house.sql.execute(_KEYS, keys, caller)
    await house.sql.execute(_STEPS, keys)


async def months_there(house: House) -> list[str]:
    return [row[0] for row in await house.sql.fetch(_MONTHS)]


async def test_a_month_that_has_ended_leaves_with_its_keys_and_its_timeline_and_is_404(
    house: House, ours: Database
) -> None:
    month = await month_of(house, ours)
    old = keys_at(*[middle(month)] * 1_500)
    await kept(house, old)
    young = await house.accepted()
    await house.sql.execute("UPDATE gateway.notifications SET status = 'delivered' WHERE id = $1", young)
    reader = house.around.callers.token("notifications:read")
    assert (await house.call("GET", f"/notifications/{old[0]}", token=reader)).status == 200

    gone = await retire(Retirements(ours), 90)

    assert (gone["partitions"], gone["idempotency_keys"]) == (1, 1_500)
    assert await months_there(house) == []
    assert await house.count("idempotency_keys") == await house.count("notifications") == 1
    assert (
        await house.sql.fetchval("SELECT count(*) FROM gateway.notification_events WHERE notification_id <> $1", young)
        == 0
    )
    for path in ("", "/timeline", "/status", "/explain"):
        assert (await house.call("GET", f"/notifications/{old[0]}{path}", token=reader)).status == 404
        assert (await house.call("GET", f"/notifications/{young}{path}", token=reader)).status == 200


async def test_a_request_id_whose_month_has_left_makes_a_new_notification(house: House, ours: Database) -> None:
    body = house.body()
    first = await house.accepted(**{k: v for k, v in body.items() if k in {"user_id", "request_id"}})
    await month_of(house, ours)
    (old,) = keys_at(middle(month_named(_OLD)))
    await house.sql.execute("DELETE FROM gateway.outbox")
    for table, column in (("idempotency_keys", "notification_id"), ("notifications", "id")):
        await house.sql.execute(f"UPDATE gateway.{table} SET {column} = $1", old)
    await house.sql.execute("UPDATE gateway.notifications SET status = 'delivered'")
    assert (await house.post(body)).status == 200

    await retire(Retirements(ours), 90)
    again = await house.post(body)

    assert again.status == 202
    assert again.data["notification_id"] not in {str(first), str(old)}


async def test_one_pending_row_holds_its_month_and_no_other(house: House, ours: Database) -> None:
    held, free = await month_of(house, ours), await month_of(house, ours, "2020_03")
    await kept(house, keys_at(middle(held), middle(free)))
    (pending,) = keys_at(middle(held))
    await kept(house, [pending], status="pending")

    await retire(Retirements(ours), 90)

    assert await months_there(house) == ["notification_events_2020_02", "notifications_2020_02"]
    assert await house.count("idempotency_keys") == await house.count("notifications") == 2
    await house.sql.execute("UPDATE gateway.notifications SET status = 'failed' WHERE id = $1", pending)
    await retire(Retirements(ours), 90)
    assert await months_there(house) == []


async def test_a_month_stays_until_the_last_of_its_days_is_old_enough(house: House, ours: Database) -> None:
    month = await month_of(house, ours)
    moment = timedelta(milliseconds=1)
    end = datetime(2020, 3, 1, tzinfo=UTC)
    await kept(house, keys_at(datetime(2020, 2, 1, tzinfo=UTC), end - moment))
    assert month.end.int >> 80 == int(end.timestamp() * 1000)

    early = await retire(At(ours, end + timedelta(days=90) - moment), 90)
    assert (early.total(), await house.count("notifications")) == (0, 2)
    in_time = await retire(At(ours, end + timedelta(days=90)), 90)
    assert (in_time["partitions"], await house.count("notifications")) == (1, 0)


async def test_what_began_again_while_it_was_looked_for_holds_the_month(house: House, ours: Database) -> None:
    month = await month_of(house, ours)
    (key,) = keys_at(middle(month))
    await kept(house, [key], status="failed")
    store = Retirements(ours)
    looked_at = await store.now()
    (letter,) = keys_at(datetime.now(UTC))
    await house.sql.execute(_LETTER, letter, key, looked_at)

    assert not await store.detach(month, ended_at=looked_at)
    assert _OLD in await store.attached()
    await house.sql.execute("UPDATE gateway.dead_letters SET replayed_at = now() - interval '1 hour'")
    assert await store.detach(month, ended_at=looked_at)


async def test_what_waits_in_the_outbox_holds_the_month(house: House, ours: Database) -> None:
    month = await month_of(house, ours)
    (key,) = keys_at(middle(month))
    await kept(house, [key], status="failed")
    store = Retirements(ours)
    await house.sql.execute(
        "INSERT INTO gateway.outbox (notification_id, queue, correlation_id, body) VALUES ($1, 'q', 'c', 'b')", key
    )

    assert not await store.detach(month, ended_at=await store.now())
    assert await house.count("notifications") == 1


async def test_a_month_that_was_detached_by_somebody_who_died_is_finished(house: House, ours: Database) -> None:
    month = await month_of(house, ours)
    old = keys_at(*[middle(month)] * 30)
    await kept(house, old)
    store = Retirements(ours)
    assert await store.detach(month, ended_at=await store.now())
    assert await store.drop_keys(month, UUID(int=0), 10) == (10, sorted(old)[9])

    gone = await retire(Retirements(ours), 90)

    assert (gone["partitions"], gone["idempotency_keys"]) == (1, 20)
    assert await months_there(house) == []
    assert await house.count("idempotency_keys") == 0


async def test_replicas_at_once_drop_everything_once(house: House, ours: Database, theirs: Database) -> None:
    for name in ("2020_01", "2020_02", "2020_03"):
        month = await month_of(house, ours, name)
        await kept(house, keys_at(*[middle(month)] * 400))

    rounds = await asyncio.gather(*(retire(Retirements(database), 90) for database in (ours, theirs, ours, theirs)))

    assert sum(gone["partitions"] for gone in rounds) == 3
    assert sum(gone["idempotency_keys"] for gone in rounds) == 1_200
    assert await months_there(house) == []
    assert await house.count("idempotency_keys") == 0


async def test_a_month_in_use_stops_nobody_and_leaves_when_it_is_free(house: House, ours: Database) -> None:
    month = await month_of(house, ours)
    await kept(house, keys_at(middle(month)))
    reader = await asyncpg.connect(house.around.dsn, timeout=10, command_timeout=10)
    transaction = reader.transaction()
    await transaction.start()
    await reader.execute("SELECT count(*) FROM gateway.notifications")  # as a dump of the database does, for long

    store = Retirements(ours)
    ended_at = await store.now()
    refused = asyncio.create_task(store.detach(month, ended_at=ended_at))
    answers = [await house.post() for _ in range(5)]

    assert [answer.status for answer in answers] == [202] * 5
    assert await refused is False
    retiring = asyncio.create_task(retire(store, 90))
    await asyncio.gather(*(house.post() for _ in range(5)))
    await transaction.rollback()
    await reader.close(timeout=5)
    assert (await retiring)["partitions"] == 1


async def test_what_lies_in_no_months_partition_leaves_in_bites(house: House, ours: Database) -> None:
    old = keys_at(*[datetime(2019, 5, 5, tzinfo=UTC)] * 1_200)
    await kept(house, old)
    (pending,) = keys_at(datetime(2019, 5, 5, tzinfo=UTC))
    await kept(house, [pending], status="pending")
    young = await house.accepted()

    gone = await retire(Retirements(ours), 90)

    assert (gone["notifications"], gone["notification_events"]) == (1_200, 1_200)
    assert {row[0] for row in await house.sql.fetch("SELECT id FROM gateway.notifications")} == {pending, young}
    assert await house.count("idempotency_keys") == 2
    assert await house.count("notification_events") == 1


async def test_dead_letters_and_tombstones_leave_once_they_are_old(house: House, ours: Database) -> None:
    now = datetime.now(UTC)
    for age in (89, 91):
        (letter,) = keys_at(now - timedelta(days=age))
        await house.sql.execute(_LETTER, letter, None, None)
    longest = deliveries_kept_days(90)
    for age in (longest - 1, longest + 1):
        await house.sql.execute("INSERT INTO gateway.erased_users VALUES ($1, $2)", uuid7(), now - timedelta(days=age))

    gone = await retire(Retirements(ours), 90)

    assert (gone["dead_letters"], gone["erased_users"]) == (1, 1)
    assert await house.count("dead_letters") == await house.count("erased_users") == 1


async def test_the_loop_runs_and_keeps_everything_where_it_is_told_to(house: House, ours: Database) -> None:
    await month_of(house, ours)

    async def gone() -> bool:
        return await months_there(house) == []

    async with house.loop("retention"):
        await eventually(gone)


async def test_no_key_is_looked_for_by_reading_the_whole_table(house: House, ours: Database) -> None:
    month = await month_of(house, ours)
    await kept(house, keys_at(*[middle(month)] * 50))
    await house.sql.execute(_KEYS, keys_at(*[datetime.now(UTC)] * 3_000), uuid7())
    await house.sql.execute("ANALYZE gateway.idempotency_keys")

    explain = f"EXPLAIN {DROP_KEYS.format(month=month.name)}"
    plan = "\n".join(row[0] for row in await ours.fetch(explain, UUID(int=0), 1_000))

    assert "Tid Scan on idempotency_keys" in plan
    assert "Seq Scan on idempotency_keys" not in plan
    assert "Index Cond: ((caller_id = " in plan


async def test_what_was_replayed_lately_is_found_without_reading_the_months_dead_letters(
    house: House, ours: Database
) -> None:
    now = datetime.now(UTC)
    await house.sql.executemany(_LETTER, [(key, key, None) for key in keys_at(*[now] * 1_000)])
    await house.sql.execute("ANALYZE gateway.dead_letters")

    month = month_named(f"{now:%Y_%m}")
    plan = "\n".join(row[0] for row in await ours.fetch(f"EXPLAIN {REVIVED}", month.first, month.end, now))

    assert "dead_letters_replayed" in plan
    assert "dead_letters_of_notification" not in plan
