"""Replaying dead letters: looked at again one by one, sent once each, and never what has since been delivered."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from carillon.contracts.channels import STATUS_QUEUE
from carillon.contracts.messages import DeliveryRequested
from carillon.gateway.dead_letters import letter_of
from carillon.gateway.store.dead_letters import DeadLetters
from carillon.gateway.store.session import steady
from carillon.gateway.store.watched import _LOCK, _TAKE
from carillon.kit.broker.port import Delivery, Message
from carillon.kit.database import open_database
from tests.integration.gateway.deaths import TOLD, dead, letters, message, operator, replay
from tests.integration.gateway.house import House, open_house
from tests.support.locks import HOW_MANY_WAIT
from tests.support.waiting import eventually
from tests.unit.gateway.neighbours import OPTED_OUT, contact
from tests.unit.gateway.reports import delivered, encoded


async def test_what_is_replayed_is_pending_again_under_another_generation_and_reaches_its_queue(house: House) -> None:
    key = await dead(house, priority=9, metadata={"order": 7})
    began = datetime.now(UTC)
    asked = {"cause": "recipient_refused", "template_code": "welcome", "notification_type": "email"}

    rehearsed = await replay(house, **asked, dry_run=True)
    assert (await house.call("GET", f"/notifications/{key}")).data["status"] == "failed"
    told = await replay(house, **asked)

    assert rehearsed == {**told, "dry_run": True}
    assert told == {
        "dry_run": False, "matched": 1, "replayed": 1, "skipped": {}, "more": False, "next_after": None,
    }  # fmt: skip
    found = (await house.call("GET", f"/notifications/{key}")).data
    assert (found["status"], found["stage"], found["attempts"]) == ("pending", "accepted", 0)
    assert (found["reason"], found["error"]) == (None, None)
    async with house.loop("relay"):

        async def queued() -> bool:
            return bool(await house.messages("email.high.queue"))

        await eventually(queued)
    (sent,) = await house.messages("email.high.queue")
    assert (sent.notification_id, sent.generation, sent.metadata) == (key, 1, {"order": 7})
    assert sent.accepted_at >= began, "its age counts anew, or it would be given up at once"
    steps = (await house.call("GET", f"/notifications/{key}/timeline")).data["steps"]
    assert [step["kind"] for step in steps][-2:] == ["replayed", "queued"]
    assert steps[-2]["detail"]["cause"] == "recipient_refused"
    assert [row["replayed_at"] is not None for row in await letters(house)] == [True]
    assert (await house.call("GET", "/dead_letters", token=operator(house))).data == []
    assert (await replay(house, **asked))["matched"] == 0


async def test_what_dies_again_is_another_letter_and_can_be_replayed_again(house: House) -> None:
    key = await dead(house)
    assert (await replay(house, ids=[row["dead_letter_id"] for row in await letters(house)]))["replayed"] == 1
    body = await house.sql.fetchval("DELETE FROM gateway.outbox RETURNING body")
    async with house.loop("dead_letters"):
        await house.broker.publish([message(body, "delivery_limit", key=key, headers={})])

        async def failed_again() -> bool:
            return bool((await house.call("GET", f"/notifications/{key}")).data["status"] == "failed")

        await eventually(failed_again)

    assert sorted(row["generation"] for row in await letters(house)) == [0, 1]
    assert (await replay(house, template_code="welcome"))["replayed"] == 1
    assert await house.sql.fetchval("SELECT generation FROM gateway.outbox") == 2


async def test_what_has_changed_since_stays_as_it_is_and_is_counted_by_its_reason(house: House) -> None:
    people = house.around.contacts
    gone, unwilling, elsewhere = (people.add() for _ in range(3))
    house.around.templates.publish("withdrawn")
    keys = {
        "no_notification": await dead(house),
        "delivered": await dead(house),
        "superseded": await dead(house),
        "user_not_found": await dead(house, user_id=gone),
        "not_allowed": await dead(house, user_id=unwilling),
        "template_not_found": await dead(house, template_code="withdrawn"),
        "outcome_unknown": await dead(house, "outcome_unknown", user_id=elsewhere),
        "expired": await dead(house),
    }
    await house.sql.execute("DELETE FROM gateway.notifications WHERE id = $1", keys["no_notification"])
    async with house.loop("recorder"):
        await house.broker.publish([Message(STATUS_QUEUE, encoded(delivered(keys["delivered"])))])

        async def is_delivered() -> bool:
            return bool((await house.call("GET", f"/notifications/{keys['delivered']}")).data["status"] == "delivered")

        await eventually(is_delivered)
    await house.sql.execute("UPDATE gateway.notifications SET generation = 1 WHERE id = $1", keys["superseded"])
    await house.sql.execute("UPDATE gateway.notifications SET expires_at = now() WHERE id = $1", keys["expired"])
    del people.people[gone]
    people.people[unwilling] = contact(unwilling, decision=OPTED_OUT)
    house.around.templates.published_now.pop(("withdrawn", "email", "en"))

    for dry_run in (True, False):
        told = await replay(house, died_from="2026-01-01T00:00:00Z", dry_run=dry_run)
        assert (told["matched"], told["replayed"]) == (8, 0)
        assert told["skipped"] == dict.fromkeys(keys, 1)
    assert await house.count("outbox") == 0


@pytest.mark.parametrize("service", ["users", "templates"])
async def test_nothing_is_sent_again_while_nobody_can_tell(house: House, service: str) -> None:
    await dead(house)
    away = house.around.contacts if service == "users" else house.around.templates
    away.away = True
    assert (await replay(house, template_code="welcome"))["skipped"] == {f"{service}_away": 1}

    away.away = False
    assert (await replay(house, template_code="welcome"))["replayed"] == 1


async def test_a_message_whose_outcome_is_unknown_is_not_sent_again_where_it_may_go_out_once(house: House) -> None:
    await dead(house, "delivery_limit", headers={})
    published = house.around.templates.published_now
    published["welcome", "email", "en"] = msgspec.structs.replace(
        published["welcome", "email", "en"], at_most_once=True
    )

    assert (await replay(house, cause="delivery_limit"))["skipped"] == {"outcome_unknown": 1}


async def test_two_replays_at_once_replay_each_letter_once(house: House) -> None:
    keys = [await dead(house) for _ in range(12)]
    async with open_house(house.around) as other:
        told = await asyncio.gather(*(replay(one, template_code="welcome") for one in (house, other) * 4))

    assert sum(answer["replayed"] for answer in told) == len(keys)
    assert await house.sql.fetchval("SELECT array_agg(DISTINCT generation) FROM gateway.outbox") == [1]
    assert await house.count("outbox") == len(keys)
    assert await house.count("notification_events WHERE kind = 'replayed'") == len(keys)


async def test_a_reconciler_that_looks_at_what_is_being_replayed_is_waited_for_and_no_deadlock(house: House) -> None:
    key = await dead(house)
    await house.sql.execute("INSERT INTO gateway.watched_notifications (notification_id) VALUES ($1)", key)

    async def waits() -> bool:
        return bool(await house.sql.fetchval(HOW_MANY_WAIT))

    async with (
        open_database(steady(house.around.dsn), name="reconciler") as database,
        asyncio.TaskGroup() as tasks,
        database.transaction() as connection,
    ):
        assert [row[0] for row in await connection.fetch(_TAKE, 10)] == [key]
        replayed = tasks.create_task(replay(house, template_code="welcome"))
        await eventually(waits, says="the replay waits for what the reconciler holds")
        await connection.fetch(_LOCK, [key])

    assert replayed.result()["replayed"] == 1


async def test_a_row_of_the_outbox_that_a_dead_relay_left_is_replaced(house: House) -> None:
    key = await dead(house)
    await house.sql.execute(
        "INSERT INTO gateway.outbox (notification_id, generation, queue, correlation_id, body, lease_until)"
        " VALUES ($1, 0, 'email.queue', 'c', 'old', now() + interval '1 hour')",
        key,
    )

    assert (await replay(house, template_code="welcome"))["replayed"] == 1

    row = await house.sql.fetchrow("SELECT generation, body, lease_until FROM gateway.outbox")
    assert (row["generation"], row["lease_until"]) == (1, None)
    assert msgspec.json.decode(row["body"], type=DeliveryRequested).generation == 1


async def test_a_call_looks_at_a_thousand_and_tells_how_to_go_on(house: House) -> None:
    now = datetime.now(UTC)
    dying = [message(b'{"user_id": "%s"}' % str(uuid4()).encode()) for _ in range(1_500)]
    kept = [letter_of(Delivery(m.queue, m.body, m.headers, m.message_id, False, 0), now) for m in dying]
    async with open_database(house.around.dsn, name="test") as database:
        await DeadLetters(database).keep(kept)

    first = await replay(house, cause="undecodable")
    second = await replay(house, cause="undecodable", after=first["next_after"])

    assert (first["matched"], first["more"]) == (1_000, True)
    assert (second["matched"], second["more"], second["next_after"]) == (500, False, None)
    assert first["skipped"] == {"no_notification": 1_000}


SOMEBODY = "01a1d1a0-0000-7000-8000-000000000001"
BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "cause"),
    ({"dry_run": True}, "cause"),
    ({"after": SOMEBODY}, "cause"),
    ({"cause": "X"}, "cause"),
    ({"cause": "a\n"}, "cause"),
    ({"cause": "a\u0000"}, "cause"),
    ({"cause": "'; DROP TABLE x"}, "cause"),
    ({"ids": []}, "ids"),
    ({"ids": ["7"]}, "ids"),
    ({"ids": [SOMEBODY] * 1_001}, "ids"),
    ({"template_code": "\u202e"}, "template_code"),
    ({"notification_type": "pigeon"}, "notification_type"),
    ({"died_from": 7}, "died_from"),
    ({"died_from": "yesterday"}, "died_from"),
    ({"cause": "gone", "dry_run": "yes"}, "dry_run"),
    ({"cause": "gone", "everything": True}, "everything"),
]


@pytest.mark.parametrize(("body", "field"), BAD)
async def test_a_replay_that_breaks_a_rule_is_told_which(house: House, body: dict[str, Any], field: str) -> None:
    answer = await house.call("POST", "/dead_letters/replay", token=operator(house), json=body)

    assert (answer.status, answer.body["error"]) == (422, "validation_failed")
    assert field in str(answer.body["details"])


@pytest.mark.parametrize(
    "query", ["cause=X", "cause=a%00", "limit=0", "limit=101", "page=0", "died_from=7", "replayed=maybe", "colour=red"]
)
async def test_a_list_refuses_what_it_does_not_know(house: House, query: str) -> None:
    assert (await house.call("GET", f"/dead_letters/all?{query}", token=operator(house))).status == 422


async def test_times_at_the_ends_of_the_calendar_are_no_trouble(house: House) -> None:
    await dead(house, died=datetime.now(UTC) - timedelta(minutes=1), headers=TOLD)
    ends = {"died_from": "0001-01-01T00:00:00+14:00", "died_to": "9999-12-31T23:59:59-14:00"}

    assert (await replay(house, **ends, dry_run=True))["matched"] == 1
