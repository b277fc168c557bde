"""`failed.queue` is drained into a table: everything is kept once, and nobody's notification stays pending for ever."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from carillon.contracts.channels import STATUS_QUEUE
from carillon.contracts.dead_letters import CAUSE_HEADER
from carillon.gateway.dead_letter_consumer import dead_letters_handler
from carillon.gateway.store.dead_letters import DeadLetters
from carillon.gateway.store.erasures import TOMBSTONES, Erasures
from carillon.gateway.store.reports import Reports
from carillon.kit.broker.port import Delivery, Done, Message, RetryAfter
from carillon.kit.database import open_database
from tests.integration.gateway.deaths import (
    STARTED,
    dead,
    drained,
    kept,
    letters,
    message,
    operator,
    replay,
    reported,
    request_of,
)
from tests.integration.gateway.house import House
from tests.integration.gateway.wire import wire_to
from tests.support.locks import HOW_MANY_WAIT
from tests.support.waiting import eventually
from tests.unit.gateway.reports import delivered, encoded


def delivery_of(dying: Message) -> Delivery:
    return Delivery(dying.queue, dying.body, dying.headers, dying.message_id, redelivered=False, delivery_count=0)


async def test_a_dead_letter_is_kept_with_all_that_is_told_of_it_but_no_address(house: House) -> None:
    key = await dead(house, "missing_variable: order", died=STARTED + timedelta(hours=1))

    (letter,) = await letters(house)
    assert letter.pop("dead_letter_id")
    assert letter.pop("user_id")
    assert letter == {
        "notification_id": str(key),
        "generation": 0,
        "notification_type": "email",
        "template_code": "welcome",
        "queue": "email.queue",
        "cause": "missing_variable",
        "reason": "missing_variable: order",
        "first_error": "451 4.7.1 <…> later",
        "last_error": "550 5.1.1 no",
        "attempts": 3,
        "provider": "smtp:here:25",
        "published_at": "2026-03-01T12:00:00Z",
        "died_at": "2026-03-01T13:00:00Z",
        "replayed_at": None,
        "replayable": True,
    }


async def test_the_same_letter_again_adds_nothing_and_its_workers_report_stands(house: House) -> None:
    key = await house.accepted()
    dying = message(msgspec.json.encode(await request_of(house, key)), key=key)
    await reported(house, key, "recipient_refused")
    before = (await house.call("GET", f"/notifications/{key}/timeline")).data

    await kept(house, [dying, dying])
    await kept(house, [dying])

    assert await house.count("dead_letters") == 1
    assert (await house.call("GET", f"/notifications/{key}/timeline")).data == before


@pytest.mark.parametrize("reason", ["delivery_limit", "undecodable", "wrong_channel"])
async def test_what_nobody_has_reported_fails_its_notification_with_the_reason(house: House, reason: str) -> None:
    key = await dead(house, reason, headers={})

    found = (await house.call("GET", f"/notifications/{key}")).data
    assert (found["status"], found["reason"], found["stage"]) == ("failed", reason, None)
    steps = (await house.call("GET", f"/notifications/{key}/timeline")).data["steps"]
    assert (steps[-1]["kind"], steps[-1]["reason"], steps[-1]["detail"]) == ("failed", reason, {"queue": "email.queue"})
    assert reason in (await house.call("GET", f"/notifications/{key}/explain")).data["summary"]


async def test_a_late_letter_undoes_no_delivery(house: House) -> None:
    key = await house.accepted()
    body = msgspec.json.encode(await request_of(house, key))
    async with house.loop("recorder"):
        await house.broker.publish([Message(STATUS_QUEUE, encoded(delivered(key)))])

        async def is_delivered() -> bool:
            return bool((await house.call("GET", f"/notifications/{key}")).data["status"] == "delivered")

        await eventually(is_delivered)
    await kept(house, [message(body, "delivery_limit", key=key, headers={})])

    assert await is_delivered()
    assert (await replay(house, cause="delivery_limit"))["skipped"] == {"delivered": 1}


async def test_what_cannot_be_read_or_has_no_notification_is_kept_too_and_stays_dead(house: House) -> None:
    request = msgspec.json.decode(msgspec.json.encode(await request_of(house, await house.accepted())))
    odd: list[dict[str, Any]] = [
        {**request, "generation": -1},
        {**request, "generation": 2**40},
        {**request, "template_code": "no\u0000code"},
        {**request, "channel": "pigeon"},
        {"user_id": request["user_id"]},
    ]
    bodies = [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"null", *map(msgspec.json.encode, odd)]
    nobody_s = msgspec.json.encode({**request, "notification_id": str(uuid4())})

    await kept(house, [*map(message, bodies), message(nobody_s), message(b'{"reports": 1}', queue=STATUS_QUEUE)])

    found = {(row["cause"], row["queue"], row["replayable"]) for row in await letters(house, "?limit=100")}
    assert found == {
        ("undecodable", "email.queue", False),
        ("recipient_refused", "email.queue", True),
        ("recipient_refused", "status.queue", False),
    }
    assert await house.count("dead_letters") == len(bodies) + 2
    assert await house.count("dead_letters WHERE body IS NOT NULL") == len(odd) + 1, "nobody's words are not kept"
    told = await replay(house, died_from="2026-01-01T00:00:00Z")
    assert (told["replayed"], told["skipped"]) == (0, {"no_notification": len(bodies) + 2})


async def test_headers_may_say_anything(house: House) -> None:
    key = await house.accepted()
    body = msgspec.json.encode(await request_of(house, key))
    forged = dict.fromkeys(message(b"").headers, "\x00 \x1b[2J\ud7ff " + "ä" * 5000)
    for times in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "never", "", "²"):
        named = {**forged, "x-carillon-dead-at": times, "x-carillon-published-at": times, "x-carillon-attempts": times}
        await house.broker.publish([Message("failed.queue", body, named), Message("failed.queue", body, {})])
    await drained(house)

    found = await letters(house, "?limit=100")
    assert len(found) == 10
    assert {letter["cause"] for letter in found} == {"other", "unknown"}
    assert all(len(str(value)) <= 500 for letter in found for value in letter.values())


async def test_causes_are_grouped_and_letters_paged_by_every_filter(house: House) -> None:
    house.around.templates.publish("news")
    house.around.templates.publish("news", channel="push")
    for hours, given in enumerate(
        ({}, {"template_code": "news"}, {"template_code": "news", "notification_type": "push"})
    ):
        await dead(house, "recipient_deferred", died=STARTED + timedelta(hours=hours), **given)
    await dead(house, "recipient_refused")

    groups = (await house.call("GET", "/dead_letters", token=operator(house))).body
    assert groups["meta"]["total"] == 2
    assert [(group["cause"], group["count"]) for group in groups["data"]] == [
        ("recipient_deferred", 3), ("recipient_refused", 1),
    ]  # fmt: skip
    first = groups["data"][0]
    assert (first["first_died_at"], first["last_died_at"]) == ("2026-03-01T12:00:00Z", "2026-03-01T14:00:00Z")
    assert [example["template_code"] for example in first["examples"]] == ["news", "news", "welcome"]
    second = (await house.call("GET", "/dead_letters?page=2&limit=1", token=operator(house))).body
    assert ([group["cause"] for group in second["data"]], second["meta"]["has_previous"]) == (
        ["recipient_refused"],
        True,
    )

    for query, count in (
        ("?cause=recipient_deferred", 3),
        ("?cause=nothing_such", 0),
        ("?template_code=news", 2),
        ("?notification_type=push", 1),
        ("?died_from=2026-03-01T13:00:00Z", 2),
        ("?died_to=2026-03-01T13:00:00Z", 2),
        ("?died_from=2026-03-01T13:00:00Z&died_to=2026-03-01T14:00:00Z", 1),
        ("?died_from=0001-01-01T00:00:00%2B14:00&died_to=9999-12-31T23:59:59-14:00", 4),
        ("?replayed=true", 0),
        ("?page=2&limit=3", 1),
    ):
        assert len(await letters(house, query)) == count, query


async def test_while_the_database_is_away_letters_wait_and_keep_what_they_died_of(house: House) -> None:
    key = await house.accepted()
    dying = message(msgspec.json.encode(await request_of(house, key)), key=key)
    async with wire_to(house.around.dsn) as (wire, dsn), open_database(dsn, name="test") as database:
        handle = dead_letters_handler(DeadLetters(database), Reports(database))
        wire.refuses = True
        wire.cut()

        (outcome,) = await handle([delivery_of(dying)])

        assert isinstance(outcome, RetryAfter)
        assert outcome.headers == {CAUSE_HEADER: "recipient_refused"}
        waited = Message(
            dying.queue, dying.body, {**dying.headers, "x-carillon-reason": outcome.reason, **outcome.headers}
        )
        wire.refuses = False
        assert list(await handle([delivery_of(waited)])) == [Done()]

    assert [letter["cause"] for letter in await letters(house)] == ["recipient_refused"]


async def test_who_is_erased_is_erased_from_dead_letters_too_those_that_wait_still_included(house: House) -> None:
    ada, bob = house.around.contacts.add(), house.around.contacts.add()
    await dead(house, user_id=ada)
    await dead(house, user_id=bob)
    key = await house.accepted(user_id=ada)
    body = msgspec.json.encode(await request_of(house, key))
    unreadable = msgspec.json.encode({"user_id": str(ada), "variables": {"name": "Ada"}})
    await house.broker.publish([message(body, key=key), message(unreadable)])

    async with open_database(house.around.dsn, name="test") as database:
        await Erasures(database).scrub(ada, bite=1)
    await drained(house)

    personal = "dead_letters WHERE (body IS NOT NULL OR first_error IS NOT NULL OR last_error IS NOT NULL)"
    assert await house.count("dead_letters") == 4
    assert await house.count(f"{personal} AND user_id = '{ada}'") == 0
    assert await house.count(f"{personal} AND user_id = '{bob}'") == 1
    told = await replay(house, template_code="welcome")
    assert told["replayed"] == 1, "Bob's"


async def test_a_letter_that_is_being_kept_while_its_user_is_erased_is_waited_for_and_scrubbed(house: House) -> None:
    ada = house.around.contacts.add()
    await dead(house, user_id=ada)
    personal = f"dead_letters WHERE body IS NOT NULL AND user_id = '{ada}'"

    async with open_database(house.around.dsn, name="test") as database:
        async with database.transaction() as keeping:
            await keeping.execute("SELECT pg_advisory_xact_lock_shared($1)", TOMBSTONES)
            scrubbing = asyncio.ensure_future(Erasures(database).scrub(ada, bite=500))

            async def waits() -> bool:
                return bool(await house.sql.fetchval(HOW_MANY_WAIT))

            await eventually(waits, says="the erasure waits for who keeps a letter")
            assert await house.count(personal) == 1
            await keeping.execute("UPDATE gateway.dead_letters SET body = 'written late' WHERE user_id = $1", ada)
        async with asyncio.timeout(20):
            await scrubbing

    assert await house.count(personal) == 0


@pytest.mark.parametrize("token", ["", "nobody"])
async def test_strangers_see_and_replay_nothing(house: House, token: str) -> None:
    known = house.around.callers
    may_not = token or known.token("notifications:send")
    reads = known.token("notifications:read")
    wrong = 401 if token else 403

    assert (await house.call("GET", "/dead_letters", token=may_not)).status == wrong
    assert (await house.call("GET", "/dead_letters/all", token=may_not)).status == wrong
    for bearer, status in ((may_not, wrong), (reads, 403)):
        assert (
            await house.call("POST", "/dead_letters/replay", token=bearer, json={"cause": "recipient_refused"})
        ).status == status
