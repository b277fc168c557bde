"""Accepting on a real PostgreSQL: committed before the 202, once for each request_id, whatever happens meanwhile."""

import asyncio
from collections.abc import Sequence
from uuid import UUID, uuid4

import msgspec

from carillon.contracts.notifications import NotificationRequested
from carillon.gateway.domain import Acceptance, Standing, acceptance_of
from carillon.gateway.store.acceptances import Acceptances
from carillon.kit.database import open_database
from carillon.kit.ids import born_at, uuid7
from tests.integration.gateway.house import Around, House, open_house
from tests.integration.gateway.wire import wire_to
from tests.support.locks import END_WHO_WAITS, HOW_MANY_WAIT
from tests.support.waiting import eventually


async def test_an_accepted_notification_is_in_the_tables_when_the_answer_leaves(house: House) -> None:
    body = house.body(priority=9, metadata={"order": [1, None, "ü"]}, category="orders")

    answer = await house.post(body)

    assert (answer.status, answer.data["status"], answer.data["stage"]) == (202, "pending", "accepted")
    assert answer.data["request_id"] == body["request_id"]
    row = await house.sql.fetchrow("SELECT * FROM gateway.notifications")
    assert row["id"] == UUID(answer.data["notification_id"])
    assert row["created_at"] == born_at(row["id"])
    assert (row["channel"], row["priority"], row["category"]) == ("email", 9, "orders")
    outbox = await house.sql.fetchrow("SELECT * FROM gateway.outbox")
    assert (outbox["notification_id"], outbox["queue"]) == (row["id"], "email.high.queue")


async def test_fifty_parallel_posts_of_one_request_make_one_notification(house: House) -> None:
    body = house.body()

    answers = await asyncio.gather(*(house.post(body) for _ in range(50)))

    assert sorted(answer.status for answer in answers) == [200] * 49 + [202]
    assert len({answer.data["notification_id"] for answer in answers}) == 1
    assert {answer.data["status"] for answer in answers} == {"pending"}
    assert [await house.count(table) for table in ("notifications", "idempotency_keys", "outbox")] == [1, 1, 1]


async def test_two_gateways_given_the_same_requests_in_opposite_order_agree(around: Around, house: House) -> None:
    bodies = [house.body() for _ in range(60)]
    async with open_house(around) as other:
        first, second = await asyncio.gather(
            asyncio.gather(*(house.post(body) for body in bodies)),
            asyncio.gather(*(other.post(body, token=house.token) for body in reversed(bodies))),
        )

    pairs = list(zip(first, reversed(second), strict=True))
    assert all(sorted((one.status, two.status)) == [200, 202] for one, two in pairs)
    assert all(one.data["notification_id"] == two.data["notification_id"] for one, two in pairs)
    assert await house.count("notifications") == await house.count("outbox") == 60


async def test_batches_of_the_same_keys_in_opposite_orders_do_not_deadlock(house: House) -> None:
    caller, names = uuid4(), ["a", "b", "c"]
    fields = {name: value for name, value in house.body().items() if name != "request_id"}

    def batch(names: list[str]) -> list[Acceptance]:
        asked = [msgspec.convert({**fields, "request_id": name}, NotificationRequested) for name in names]
        return [acceptance_of(a, notification_id=uuid7(), caller_id=caller, correlation_id="c") for a in asked]

    async with open_database(house.around.dsn, name="test") as database:
        store, middle = Acceptances(database), house.sql.transaction()
        await middle.start()
        await house.sql.execute("INSERT INTO gateway.idempotency_keys VALUES ($1, 'b', $2, '')", caller, uuid4())
        accepting = [asyncio.create_task(store.accept(batch(order))) for order in (names, names[::-1])]
        await _until_someone_waits(house, count=2)
        await middle.rollback()
        there, back = await asyncio.gather(*accepting)

    assert {_ids(there), _ids(back[::-1])} == {_ids(there)}


def _ids(standings: Sequence[object]) -> tuple[UUID, ...]:
    return tuple(standing.notification_id for standing in standings if isinstance(standing, Standing))


async def test_another_body_under_the_same_request_id_is_refused(house: House) -> None:
    body = house.body()
    await house.post(body)

    answer = await house.post({**body, "priority": 6})

    assert (answer.status, answer.body["error"]) == (409, "request_id_reused")
    assert await house.count("notifications") == 1


async def test_a_body_that_means_the_same_is_a_replay(house: House) -> None:
    body = house.body()
    await house.post(body)
    spelled_out = {
        **dict(reversed(body.items())),
        "variables": {"link": "https://example.com/x", "meta": None, "name": "Ada"},
        "priority": 5,
        "metadata": None,
        "category": None,
    }

    assert (await house.post(spelled_out)).status == 200


async def test_the_same_request_id_of_two_callers_makes_two_notifications(house: House) -> None:
    body = house.body()
    other = house.around.callers.token("notifications:send")

    answers = [await house.post(body), await house.post(body, token=other)]

    assert [answer.status for answer in answers] == [202, 202]
    assert await house.count("notifications") == 2


async def test_a_replay_tells_the_present_status_although_the_user_is_gone(house: House) -> None:
    body = house.body()
    await house.post(body)
    await house.sql.execute("UPDATE gateway.notifications SET status = 'delivered', rank = 3000")
    house.around.contacts.people.clear()

    answer = await house.post(body)

    assert (answer.status, answer.data["status"], answer.data["stage"]) == (200, "delivered", None)
    assert (await house.post({**body, "priority": 6})).status == 409


async def test_an_unknown_user_or_template_is_named_and_nothing_is_written(house: House) -> None:
    no_user = await house.post(house.body(user_id=uuid4()))
    no_template = await house.post(house.body(template_code="nowhere"))

    assert (no_user.status, no_user.body["error"]) == (404, "user_not_found")
    assert (no_template.status, no_template.body["error"]) == (404, "template_not_found")
    assert await house.count("idempotency_keys") == 0


async def test_what_cannot_be_asked_hinders_nobody(house: House) -> None:
    house.around.contacts.away = house.around.templates.away = True

    assert (await house.post(house.body(user_id=uuid4(), template_code="whatever"))).status == 202
    assert await house.count("outbox") == 1


async def test_a_caller_who_hangs_up_loses_nothing_and_disturbs_nobody(house: House) -> None:
    bodies = [house.body() for _ in range(30)]
    async with house.sql.transaction():  # nothing can be committed while this holds the table
        await house.sql.execute("LOCK TABLE gateway.idempotency_keys IN ACCESS EXCLUSIVE MODE")
        posts = [asyncio.create_task(house.post(body)) for body in bodies]
        await _until_someone_waits(house)
        for post in posts[:10]:
            post.cancel()
        await asyncio.gather(*posts[:10], return_exceptions=True)

    answers = await asyncio.gather(*posts[10:])

    assert {answer.status for answer in answers} == {202}
    for body in bodies[:10]:  # the request_id settles what became of those who hung up
        assert (await house.post(body)).status in {200, 202}
    assert await house.count("notifications") == await house.count("outbox") == 30


async def test_one_bad_row_harms_no_neighbour(house: House) -> None:
    await house.sql.execute("ALTER TABLE gateway.notifications ADD CONSTRAINT test CHECK (category <> 'bad')")
    bodies = [house.body(category="bad" if number == 7 else "good") for number in range(20)]
    async with house.sql.transaction():
        await house.sql.execute("LOCK TABLE gateway.idempotency_keys IN ACCESS EXCLUSIVE MODE")
        posts = [asyncio.create_task(house.post(body)) for body in bodies]
        await _until_someone_waits(house)

    answers = await asyncio.gather(*posts)

    assert [answer.status for answer in answers] == [422 if number == 7 else 202 for number in range(20)]
    assert answers[7].body["error"] == "validation_failed"
    assert await house.count("idempotency_keys") == await house.count("outbox") == 19


async def test_a_key_that_outlived_its_notification_is_refused_and_harms_no_neighbour(house: House) -> None:
    old = house.body()
    await house.post(old)
    await house.sql.execute("DELETE FROM gateway.notifications")  # as when its partition was dropped
    async with house.sql.transaction():
        await house.sql.execute("LOCK TABLE gateway.idempotency_keys IN ACCESS EXCLUSIVE MODE")
        posts = [asyncio.create_task(house.post(body)) for body in (house.body(), old, house.body())]
        await _until_someone_waits(house)

    first, spent, last = await asyncio.gather(*posts)

    assert (first.status, last.status) == (202, 202)
    assert (spent.status, spent.body["error"]) == (409, "request_id_spent")


async def test_a_connection_lost_in_the_middle_answers_503_and_the_same_request_id_settles_it(house: House) -> None:
    body = house.body()
    async with house.sql.transaction():
        await house.sql.execute("LOCK TABLE gateway.idempotency_keys IN ACCESS EXCLUSIVE MODE")
        post = asyncio.create_task(house.post(body))
        await _until_someone_waits(house)
        await _terminate_waiting(house)
        lost = await post

    again = await house.post(body)

    assert (lost.status, lost.body["error"]) == (503, "unavailable")
    assert again.status == 202
    assert await house.count("notifications") == 1


async def test_a_commit_whose_answer_was_lost_is_settled_by_the_same_request_id(around: Around) -> None:
    async with wire_to(around.dsn) as (wire, dsn), open_house(around, dsn=dsn) as house:
        await house.post()
        body = house.body()
        async with house.sql.transaction():
            await house.sql.execute("LOCK TABLE gateway.idempotency_keys IN ACCESS EXCLUSIVE MODE")
            post = asyncio.create_task(house.post(body))
            await _until_someone_waits(house)
            wire.deaf = True
        lost = await post
        wire.deaf = False

        again = await house.post(body)

        assert (lost.status, lost.body["error"]) == (503, "unavailable")
        assert (again.status, again.data["status"]) == (200, "pending")
        assert await house.count("notifications") == await house.count("outbox") == 2


async def test_while_the_database_is_away_the_answer_is_503_and_afterwards_all_is_well(around: Around) -> None:
    async with wire_to(around.dsn) as (wire, dsn), open_house(around, dsn=dsn) as house:
        body = house.body()
        wire.refuses = True
        away = await house.post(body)
        read = await house.call("GET", "/notifications")
        wire.refuses = False

        assert [(a.status, a.body["error"]) for a in (away, read)] == [(503, "unavailable")] * 2
        assert (await house.post(body)).status == 202


async def _until_someone_waits(house: House, *, count: int = 1) -> None:
    async def waiting() -> bool:
        return int(await house.sql.fetchval(HOW_MANY_WAIT)) >= count

    await eventually(waiting, says=f"{count} statements wait for a lock")


async def _terminate_waiting(house: House) -> None:
    await house.sql.execute(END_WHO_WAITS)
