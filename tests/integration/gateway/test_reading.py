"""Reading over HTTP: one's own notifications, all of them for those who may, a dry run, and where the rows live."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from urllib.parse import quote
from uuid import UUID, uuid4

import msgspec
import pytest

from carillon.contracts.preferences import Choices, decide
from carillon.contracts.quiet_hours import QuietHours
from carillon.contracts.users import DecisionLayer
from carillon.gateway.domain import months
from carillon.gateway.store.outbox import Outbox
from carillon.gateway.store.partitions import Partitions
from carillon.gateway.store.session import steady
from carillon.kit.database import open_database
from carillon.kit.ids import first_key_of, uuid7
from tests.integration.gateway.house import Around, House
from tests.support.waiting import eventually
from tests.unit.gateway.neighbours import OPTED_OUT

PARTS = ("", "/status", "/timeline", "/explain")


@pytest.mark.parametrize("part", PARTS)
async def test_only_the_sender_and_readers_of_all_see_a_notification(house: House, part: str) -> None:
    key = await house.accepted()
    stranger = house.around.callers.token("notifications:send")
    reader = house.around.callers.token("notifications:read")

    statuses = [
        (await house.call("GET", f"/notifications/{key}{part}", token=token)).status
        for token in (house.token, stranger, reader, "unknown")
    ]

    assert statuses == [200, 404, 200, 401]
    assert (await house.call("GET", f"/notifications/{uuid4()}{part}")).status == 404
    assert (await house.call("GET", f"/notifications/none{part}")).status == 404


async def test_a_notification_tells_everything_that_was_asked_and_what_became_of_it(house: House) -> None:
    body = house.body(metadata={"order": 7}, category="orders", priority=2)
    key = (await house.post(body)).data["notification_id"]

    found = (await house.call("GET", f"/notifications/{key}")).data

    created = found.pop("created_at")
    assert found.pop("updated_at") == created
    assert found.pop("correlation_id")
    assert found == {
        "notification_id": key,
        "request_id": body["request_id"],
        "notification_type": "email",
        "user_id": body["user_id"],
        "template_code": "welcome",
        "priority": 2,
        "category": "orders",
        "status": "pending",
        "stage": "accepted",
        "attempts": 0,
        "reason": None,
        "error": None,
        "metadata": {"order": 7},
        "send_at": None,
        "expires_at": None,
    }


@pytest.mark.parametrize("request_id", ["plain", "order/12/mail", "a//b", "with space & ümlaut?", "100%", "request"])
async def test_a_request_id_finds_its_notification(house: House, request_id: str) -> None:
    key = await house.accepted(request_id=request_id)
    reader = house.around.callers.token("notifications:read")
    path = f"/notifications/request/{quote(request_id)}"
    owner = house.around.callers.known[house.token].caller_id

    mine = await house.call("GET", path)
    others = await house.call("GET", path, token=reader)
    named = await house.call("GET", f"{path}?caller_id={owner}", token=reader)

    assert (mine.status, mine.data["notification_id"]) == (200, str(key))
    assert others.status == 404
    assert (named.status, named.data["notification_id"]) == (200, str(key))


async def test_another_callers_request_id_needs_the_permission_to_read_all(house: House) -> None:
    await house.accepted(request_id="mine")
    stranger = house.around.callers.token("notifications:send")
    owner = house.around.callers.known[house.token].caller_id

    assert (await house.call("GET", "/notifications/request/mine", token=stranger)).status == 404
    answer = await house.call("GET", f"/notifications/request/mine?caller_id={owner}", token=stranger)
    assert (answer.status, answer.body["error"]) == (403, "forbidden")
    assert (await house.call("GET", "/notifications/request/%00")).status == 404


async def test_a_list_holds_ones_own_the_newest_first_by_pages(house: House) -> None:
    keys = [str(await house.accepted()) for _ in range(5)]
    stranger = house.around.callers.token("notifications:send")
    await house.post(token=stranger)

    first = await house.call("GET", "/notifications?limit=2")
    last = await house.call("GET", "/notifications?limit=2&page=3")
    beyond = await house.call("GET", "/notifications?limit=2&page=9")
    everything = await house.call("GET", "/notifications", token=house.around.callers.token("notifications:read"))

    assert [found["notification_id"] for found in first.data] == keys[:2:-1]
    assert first.body["meta"] == {
        "total": 5, "limit": 2, "page": 1, "total_pages": 3, "has_next": True, "has_previous": False,
    }  # fmt: skip
    assert [found["notification_id"] for found in last.data] == keys[:1]
    assert (last.body["meta"]["has_next"], beyond.data) == (False, [])
    assert everything.body["meta"]["total"] == 6


async def test_a_list_is_narrowed_by_every_filter(house: House) -> None:
    house.around.templates.publish("other")
    house.around.templates.publish("pushed", channel="push")
    user_id = house.around.contacts.add()
    mail = await house.accepted(user_id=user_id)
    await asyncio.sleep(0.002)  # keys of one millisecond are in no order
    push = await house.accepted(notification_type="push", template_code="pushed")
    await asyncio.sleep(0.002)
    other = await house.accepted(template_code="other")
    await house.sql.execute("UPDATE gateway.notifications SET status = 'failed' WHERE id = $1", other)
    middle = quote((await house.call("GET", f"/notifications/{push}")).data["created_at"])

    async def found(query: str) -> set[UUID]:
        answer = await house.call("GET", f"/notifications?{query}")
        assert answer.body["meta"]["total"] == len(answer.data)
        return {UUID(one["notification_id"]) for one in answer.data}

    assert await found(f"user_id={user_id}") == {mail}
    assert await found("status=failed") == {other}
    assert await found("status=pending") == {mail, push}
    assert await found("notification_type=push") == {push}
    assert await found("template_code=other") == {other}
    assert await found(f"created_from={middle}") == {push, other}
    assert await found(f"created_to={middle}") == {mail}
    assert await found(f"created_from={middle}&status=pending&notification_type=push&user_id={user_id}") == set()
    assert await found("created_from=0001-01-01T00:00:00&created_to=9999-12-31T23:59:59-23:59") == {mail, push, other}


@pytest.mark.parametrize(
    "query", ["page=0", "limit=0", "limit=101", "status=lost", "user_id=x", "created_from=yesterday", "template_code=A"]
)
async def test_a_bad_filter_is_told(house: House, query: str) -> None:
    answer = await house.call("GET", f"/notifications?{query}")

    assert (answer.status, answer.body["error"]) == (422, "validation_failed")
    assert answer.body["details"][0]["field"] == query.partition("=")[0]


async def test_a_dry_run_renders_and_writes_nothing(house: House) -> None:
    house.around.templates.publish("welcome", subject="Hello {{ name }}")

    answer = await house.call("POST", "/notifications/dry_run", json=house.body(priority=9))

    assert (answer.data["outcome"], answer.data["queue"]) == ("sent", "email.high.queue")
    assert answer.data["rendered"]["subject"] == "Hello Ada"
    assert answer.data["decision"]["allowed"] is True
    assert await house.count("notifications") == await house.count("idempotency_keys") == 0


async def test_a_dry_run_tells_what_would_go_wrong(house: House) -> None:
    house.around.templates.publish("welcome", subject="{{ name }} {{ order_number }}")
    opted_out = house.around.contacts.add(decision=OPTED_OUT)
    used = house.body()
    await house.post(used)

    async def run(**given: object) -> dict[str, object]:
        found: dict[str, object] = (await house.call("POST", "/notifications/dry_run", json=house.body(**given))).data
        return found

    missing, refused = await run(), await run(user_id=opted_out)
    replayed = await house.call("POST", "/notifications/dry_run", json=used)
    conflicting = await house.call("POST", "/notifications/dry_run", json={**used, "priority": 1})
    unknown = await house.call("POST", "/notifications/dry_run", json=house.body(user_id=uuid4()))
    house.around.contacts.away = True
    away = await house.call("POST", "/notifications/dry_run", json=house.body())

    assert (missing["outcome"], missing["missing_variables"]) == ("failed", ["order_number"])
    assert (refused["outcome"], refused["reason"]) == ("suppressed", OPTED_OUT.reason)
    assert replayed.data["outcome"] == "replayed"
    assert [conflicting.status, unknown.status, away.status] == [409, 404, 503]


async def test_a_dry_run_tells_every_layer_and_until_when_quiet_hours_would_hold_it(house: House) -> None:
    house.around.templates.publish("welcome", subject="Hello {{ name }}")
    decision = decide(Choices(), channel="email", category=None, rule=None, reach="reachable")
    user_id, now = house.around.contacts.add(decision=decision), datetime.now(UTC)
    awake = house.around.contacts.people[user_id]
    hours = QuietHours(f"{now - timedelta(hours=1):%H:%M}", f"{now + timedelta(hours=2):%H:%M}", "UTC")

    async def run(**changes: object) -> dict[str, Any]:
        house.around.contacts.people[user_id] = msgspec.structs.replace(awake, **changes)
        answer = await house.call("POST", "/notifications/dry_run", json=house.body(user_id=user_id))
        found: dict[str, Any] = answer.data
        return found

    held, urgent = await run(quiet_hours=hours), await run(quiet_hours=hours, urgent=True)

    assert (held["outcome"], held["waits_until"]) == ("sent", f"{now + timedelta(hours=2):%Y-%m-%dT%H:%M}:00Z")
    assert (urgent["outcome"], urgent["waits_until"]) == ("sent", None)
    assert [layer["layer"] for layer in held["decision"]["layers"]] == list(get_args(DecisionLayer))


async def test_the_months_ahead_have_their_partitions_and_a_far_one_falls_into_the_default(house: House) -> None:
    names = [
        row[0] for row in await house.sql.fetch("SELECT relid::text FROM pg_partition_tree('gateway.notifications')")
    ]
    assert len(names) == 5  # itself, the default, this month and two more
    key = await house.accepted()
    home = "SELECT tableoid::regclass::text FROM gateway.notifications WHERE id = $1"
    assert "default" not in await house.sql.fetchval(home, key)

    far = uuid7(int(datetime(2099, 5, 1, tzinfo=UTC).timestamp() * 1000))
    await house.sql.execute(
        "INSERT INTO gateway.notifications SELECT (jsonb_populate_record(n, jsonb_build_object('id', $1::uuid))).*"
        " FROM gateway.notifications n",
        far,
    )
    assert "default" in await house.sql.fetchval(home, far)


async def test_partitions_are_made_by_several_replicas_at_once_and_only_once(around: Around, house: House) -> None:
    ahead = list(months(datetime(2030, 11, 5, tzinfo=UTC), 3))
    async with open_database(steady(around.dsn), name="months") as database:
        made = await asyncio.gather(*(Partitions(database).ensure(ahead) for _ in range(4)))

    assert sum(len(names) for names in made) == 8
    assert ahead[1].end == ahead[2].first == first_key_of(datetime.fromisoformat("2031-01-01T00:00:00Z"))
    rooms = await house.sql.fetchval("SELECT reloptions FROM pg_class WHERE relname = 'notifications_2030_12'")
    assert rooms == ["fillfactor=60"]
    indexes = "SELECT count(*) FROM pg_indexes WHERE tablename = 'notifications_2030_12'"
    assert await house.sql.fetchval(indexes) == 4


async def test_status_updates_are_heap_only(around: Around, house: House) -> None:
    keys = [await house.accepted() for _ in range(10)]
    await house.sql.execute(
        "UPDATE gateway.notifications SET status = 'delivered', rank = 3000 WHERE id = ANY($1)", keys
    )

    async def counted() -> bool:
        await house.sql.execute("SELECT pg_stat_clear_snapshot()")
        query = (
            "SELECT sum(n_tup_upd), sum(n_tup_hot_upd) FROM pg_stat_user_tables WHERE relname LIKE 'notifications_2%'"
        )
        updated, hot = await house.sql.fetchrow(query)
        return bool(updated == hot == 10)

    await eventually(counted, within=15)


async def test_the_outbox_is_counted_without_what_is_not_yet_due(around: Around, house: House) -> None:
    for _ in range(3):
        await house.accepted()
    later = timedelta(hours=1)
    await house.sql.execute(
        "UPDATE gateway.outbox SET available_at = now() + $1"
        " WHERE notification_id = (SELECT notification_id FROM gateway.outbox LIMIT 1)",
        later,
    )
    async with open_database(steady(around.dsn), name="count") as database:
        assert await Outbox(database).waiting() == 2
