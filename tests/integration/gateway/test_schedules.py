"""Sent later: waits in the outbox until its time, is told as scheduled, and costs the relay nothing meanwhile."""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import asyncpg
import msgspec
import pytest

from carillon.contracts.notifications import NotificationRequested
from carillon.contracts.quiet_hours import QuietHours
from carillon.gateway.actions.relay import relay
from carillon.gateway.domain import acceptance_of
from carillon.gateway.store.acceptances import Acceptances
from carillon.gateway.store.outbox import BACKLOG, CLAIM, WAITING, Outbox
from carillon.gateway.store.session import steady
from carillon.kit.database import open_database
from carillon.kit.ids import uuid7
from tests.integration.gateway.house import Around, House, drained, open_house
from tests.integration.gateway.test_relaying import explained, fill_outbox, relaying
from tests.support.waiting import eventually

HOUR = timedelta(hours=1)


def from_now(delta: timedelta) -> str:
    return (datetime.now(UTC) + delta).isoformat()


async def kinds(house: House, key: Any) -> list[str]:
    return [step["kind"] for step in (await house.call("GET", f"/notifications/{key}/timeline")).data["steps"]]


async def test_what_is_to_be_sent_later_is_scheduled_and_no_relay_takes_it(house: House) -> None:
    at = datetime.now(UTC).replace(microsecond=0) + HOUR
    accepted = await house.post(house.body(send_at=at.isoformat(), expires_at=(at + HOUR).isoformat()))
    key = accepted.data["notification_id"]
    async with relaying(house) as terms:
        assert await terms.outbox.claim(10, lease_seconds=30) == []
        assert await terms.outbox.waiting() == 0

    found = (await house.call("GET", f"/notifications/{key}")).data
    assert (accepted.status, accepted.data["status"], accepted.data["stage"]) == (202, "pending", "scheduled")
    assert (found["status"], found["stage"]) == ("pending", "scheduled")
    assert [datetime.fromisoformat(found[name]) for name in ("send_at", "expires_at")] == [at, at + HOUR]
    steps = (await house.call("GET", f"/notifications/{key}/timeline")).data["steps"]
    assert [step["kind"] for step in steps] == ["accepted", "scheduled"]
    assert datetime.fromisoformat(steps[1]["detail"]["until"]) == at
    told = (await house.call("GET", f"/notifications/{key}/explain")).data
    assert told["summary"] == "It waits for its time."


async def test_when_its_time_comes_the_running_relay_sends_it_with_its_times(house: House) -> None:
    at = datetime.now(UTC) + timedelta(seconds=3)
    async with house.loop("relay"):
        key = await house.accepted(send_at=at.isoformat(), expires_at=(at + HOUR).isoformat())
        (message,) = await eventually(house.messages)

    assert datetime.now(UTC) >= at
    assert (message.notification_id, message.send_at, message.expires_at) == (key, at, at + HOUR)
    await eventually(lambda: queued(house, key))
    assert await kinds(house, key) == ["accepted", "scheduled", "queued"]


async def queued(house: House, key: Any) -> bool:
    return bool((await house.call("GET", f"/notifications/{key}")).data["stage"] == "queued")


async def test_a_timer_that_went_off_while_nobody_ran_fires_once(house: House) -> None:
    key = await house.accepted(send_at=from_now(HOUR))
    await house.sql.execute("UPDATE gateway.outbox SET available_at = now() - interval '3 h'")
    async with (
        relaying(house) as one,
        relaying(house) as other,
        drained(lambda: relay(one)),
        drained(lambda: relay(other)),
    ):
        await eventually(house.messages)
        await eventually(lambda: emptied(house))

    assert [message.notification_id for message in await house.messages()] == [key]


async def emptied(house: House) -> bool:
    return await house.count("outbox") == 0


@pytest.mark.parametrize("past", ["2001-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "1999-12-31T23:59:59+13:00"])
async def test_a_time_that_is_over_is_now(house: House, past: str) -> None:
    accepted = await house.post(house.body(send_at=past))
    key = accepted.data["notification_id"]
    async with house.loop("relay"):
        (message,) = await eventually(house.messages)

    assert accepted.data["stage"] == "accepted"
    assert message.send_at is None
    assert (await house.call("GET", f"/notifications/{key}")).data["send_at"] is None
    assert await kinds(house, key) == ["accepted", "queued"]


async def test_the_same_times_are_a_replay_in_any_zone_and_others_are_refused(house: House) -> None:
    at = datetime.now(UTC).replace(microsecond=0) + HOUR
    there = at.astimezone(timezone(timedelta(hours=-7)))
    body = house.body(send_at=at.isoformat(), expires_at=(at + HOUR).isoformat())
    first = await house.post(body)

    again = await house.post({**body, "send_at": there.isoformat(), "expires_at": f"{at + HOUR:%Y-%m-%dT%H:%M:%S}"})
    later = await house.post({**body, "send_at": (at + timedelta(minutes=1)).isoformat()})
    without = await house.post({**body, "expires_at": None})

    assert (again.status, again.data) == (200, first.data)
    assert [(a.status, a.body["error"]) for a in (later, without)] == [(409, "request_id_reused")] * 2


async def test_a_replay_does_not_depend_on_its_times_being_to_come(house: House) -> None:
    then = datetime(2001, 1, 1, tzinfo=UTC)
    body = house.body(expires_at=(then + HOUR).isoformat())
    asked = msgspec.convert(body, NotificationRequested)
    caller_id = house.around.callers.known[house.token].caller_id
    key = uuid7(int(then.timestamp() * 1000))
    acceptance = acceptance_of(asked, notification_id=key, caller_id=caller_id, correlation_id="c")
    async with open_database(steady(house.around.dsn), name="then") as database:
        await Acceptances(database).accept([acceptance])

    again = await house.post(body)
    rehearsed = await house.call("POST", "/notifications/dry_run", json=body)
    other = await house.post({**body, "priority": 9})
    new = await house.post({**body, "request_id": "another"})

    assert (again.status, again.data["notification_id"]) == (200, str(key))
    assert rehearsed.data["outcome"] == "replayed"
    assert (other.status, other.body["error"]) == (409, "request_id_reused")
    assert (new.status, new.body["details"][0]["field"]) == (422, "expires_at")


async def test_a_dry_run_tells_when_it_would_be_sent_and_whether_in_time(house: House) -> None:
    at = datetime.now(UTC).replace(second=0, microsecond=0) + 3 * HOUR
    awake, asleep = house.around.contacts.add(), house.around.contacts.add()
    quiet = QuietHours(f"{at - HOUR:%H:%M}", f"{at + HOUR:%H:%M}", "UTC")
    contact = house.around.contacts.people[asleep]
    house.around.contacts.people[asleep] = type(contact)(**{**fields(contact), "quiet_hours": quiet})

    async def rehearsed(**given: Any) -> Any:
        return (await house.call("POST", "/notifications/dry_run", json=house.body(**given))).data

    plain = await rehearsed(user_id=awake, send_at=at.isoformat())
    held = await rehearsed(user_id=asleep, send_at=at.isoformat())
    late = await rehearsed(user_id=asleep, send_at=at.isoformat(), expires_at=(at + HOUR / 2).isoformat())

    assert (plain["outcome"], datetime.fromisoformat(plain["waits_until"])) == ("sent", at)
    assert (held["outcome"], datetime.fromisoformat(held["waits_until"])) == ("sent", at + HOUR)
    assert (late["outcome"], late["waits_until"]) == ("expired", None)
    refused = await house.call("POST", "/notifications/dry_run", json=house.body(expires_at="2001-01-01T00:00:00Z"))
    assert (refused.status, refused.body["details"][0]["field"]) == (422, "expires_at")


def fields(contact: Any) -> dict[str, Any]:
    return {name: getattr(contact, name) for name in contact.__struct_fields__}


@pytest.mark.timeout(120)
async def test_fifty_thousand_that_wait_for_their_time_cost_a_claim_and_a_count_nothing(around: Around) -> None:
    async with open_house(around) as house:
        await fill_outbox(house.sql, 50_000)
        await house.sql.execute("UPDATE gateway.outbox SET available_at = now() + interval '1 day'")
        await house.sql.execute("VACUUM ANALYZE gateway.outbox")
        for _ in range(3):
            await house.accepted()
    async with open_database(steady(around.dsn), name="count") as database:
        assert await Outbox(database).waiting() == 3
        waiting, oldest = await Outbox(database).backlog()
        assert (waiting, 0 < oldest < 120) == (3, True)
    connection = await asyncpg.connect(steady(around.dsn), timeout=10, command_timeout=60)
    try:
        plans = [await explained(connection, CLAIM, 500, 30.0) for _ in range(7)]  # past the change to a generic plan
        counting = [await explained(connection, WAITING) for _ in range(7)]
        measuring = [await explained(connection, BACKLOG) for _ in range(7)]
    finally:
        await connection.close(timeout=5)

    for plan in (plans[0], plans[-1], counting[0], counting[-1], measuring[0], measuring[-1]):
        assert "using outbox_due" in plan
        assert "Seq Scan on outbox" not in plan
        assert "Sort" not in plan
        assert most_rows(plan) <= 3, plan


def most_rows(plan: str) -> int:
    """The most rows that any step of the plan took in hand, those it dropped included."""
    dropped = sum(int(found) for found in re.findall(r"Rows Removed by [^:]+: (\d+)", plan))
    return dropped + max(int(float(rows)) for rows in re.findall(r"rows=([\d.]+) loops", plan))


async def test_what_becomes_due_is_seen_without_any_new_acceptance(house: House) -> None:
    """Nobody wakes the relay for it."""
    async with relaying(house) as terms, drained(lambda: relay(terms)):
        await house.accepted(send_at=from_now(timedelta(seconds=1)))
        assert not terms.grew.is_set()
        await eventually(lambda: emptied(house), within=10)
    assert len(await house.messages()) == 1
