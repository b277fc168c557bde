"""Cancelling is definite: what is cancelled is never sent, and what may be sent is never called cancelled."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from carillon.contracts.channels import STATUS_QUEUE
from carillon.gateway.actions.cancel import cancel
from carillon.gateway.actions.relay import Relaying, relay_once
from carillon.gateway.errors import AlreadyQueued
from carillon.gateway.store.cancellations import Cancellations
from carillon.gateway.store.erasures import Erasures
from carillon.gateway.store.notifications import Notifications
from carillon.gateway.store.outbox import Outbox
from carillon.gateway.store.session import steady
from carillon.kit.broker.port import BrokerUnavailable, Message, PublishFailed
from carillon.kit.database import Database, open_database
from carillon.kit.ids import uuid7
from tests.integration.gateway.house import Answer, House
from tests.integration.gateway.test_relaying import Trouble, relaying
from tests.support.waiting import eventually
from tests.unit.gateway.reports import delivered, encoded, failed


def tomorrow() -> str:
    return (datetime.now(UTC) + timedelta(days=1)).isoformat()


async def cancelled(house: House, key: Any, *, token: str | None = None) -> Answer:
    return await house.call("POST", f"/notifications/{key}/cancel", token=token)


async def refusal(house: House, key: Any, *, token: str | None = None) -> tuple[int, str]:
    answer = await cancelled(house, key, token=token)
    return answer.status, answer.body["error"]


@pytest.mark.parametrize("given", [{}, {"send_at": "tomorrow"}], ids=["at once", "scheduled"])
async def test_what_no_relay_has_had_is_cancelled_for_good_and_again_is_the_same(
    house: House, given: dict[str, Any]
) -> None:
    body = house.body(**({"send_at": tomorrow()} if given else {}))
    key = (await house.post(body)).data["notification_id"]

    first, again = await cancelled(house, key), await cancelled(house, key)

    told = {"notification_id": key, "request_id": body["request_id"], "status": "cancelled", "stage": None}
    assert (first.status, first.data) == (200, told)
    assert (again.status, again.data) == (200, told)
    assert await house.count("outbox") == 0
    steps = (await house.call("GET", f"/notifications/{key}/timeline")).data["steps"]
    assert [step["kind"] for step in steps] == ["accepted", *(["scheduled"] if given else []), "cancelled"]
    assert steps[-1]["detail"] == {"by": str(house.around.callers.known[house.token].caller_id)}
    replay = await house.post(body)
    assert (replay.status, replay.data["status"]) == (200, "cancelled")
    async with relaying(house) as terms:
        await relay_once(terms)
    assert await house.messages() == []


async def test_what_the_relay_has_or_has_published_is_already_queued(house: House) -> None:
    leased = await house.accepted()
    async with relaying(house) as terms:
        await terms.outbox.claim(10, lease_seconds=30)
        assert await refusal(house, leased) == (409, "already_queued")
        await house.sql.execute("UPDATE gateway.outbox SET lease_until = now() - interval '1 h'")
        assert await refusal(house, leased) == (409, "already_queued"), "a relay that froze may publish it yet"
        await relay_once(terms)

    assert await refusal(house, leased) == (409, "already_queued")
    assert [message.notification_id for message in await house.messages()] == [leased]


async def test_what_a_relay_gave_back_is_cancelled_only_where_the_broker_cannot_have_it(house: House) -> None:
    key = await house.accepted()
    broker = Trouble(house)
    broker.away = True
    async with relaying(house, broker) as terms:
        await relay_once(terms)
        assert (await cancelled(house, key)).status == 200, "the broker was not even asked"

        doubtful, dead, lapsed = await house.accepted(), await house.accepted(), await house.accepted()
        due = {d.notification_id: d for d in await terms.outbox.claim(10, lease_seconds=30)}
        await terms.outbox.give_back([due[doubtful]], rest_seconds=0, maybe_sent=True)
        await house.sql.execute("UPDATE gateway.outbox SET lease_until = now() WHERE notification_id = $1", lapsed)
        assert await refusal(house, doubtful) == (409, "already_queued")
        again = await terms.outbox.claim(10, lease_seconds=30)
        assert {d.notification_id for d in again} == {doubtful, lapsed}
        await terms.outbox.give_back(again, rest_seconds=0, maybe_sent=False)
        await terms.outbox.end_leases()

    for one in (doubtful, dead, lapsed):
        assert await refusal(house, one) == (409, "already_queued")


async def test_what_was_queued_anew_is_already_queued_since_its_first_message_may_be_under_way(house: House) -> None:
    key = await house.accepted()
    await house.sql.execute("UPDATE gateway.outbox SET generation = 1")

    assert await refusal(house, key) == (409, "already_queued")


@pytest.mark.parametrize("report", [delivered, failed])
async def test_what_has_ended_is_already_ended(house: House, report: Any) -> None:
    key = await house.accepted()
    async with house.loop("relay"), house.loop("recorder"):
        await eventually(house.messages)
        await house.broker.publish([Message(STATUS_QUEUE, encoded(report(key)))])

        async def ended() -> bool:
            return bool((await house.call("GET", f"/notifications/{key}")).data["status"] != "pending")

        await eventually(ended)

    assert await refusal(house, key) == (409, "already_ended")
    assert (await house.call("GET", f"/notifications/{key}")).data["status"] == report.__name__


async def test_another_s_is_not_found_and_only_who_may_everything_cancels_it(house: House) -> None:
    key = await house.accepted(send_at=tomorrow())
    other = house.around.callers.token("notifications:send", "notifications:read")
    reader = house.around.callers.token("notifications:read")
    admin = house.around.callers.token("notifications:*")

    assert await refusal(house, key, token=other) == (404, "not_found")
    assert await refusal(house, key, token=reader) == (403, "forbidden")
    assert await refusal(house, uuid4()) == (404, "not_found")
    assert await refusal(house, "none") == (404, "not_found")
    assert (await house.call("GET", f"/notifications/{key}")).data["stage"] == "scheduled"
    assert (await cancelled(house, key, token=admin)).status == 200
    assert await refusal(house, key, token=other) == (404, "not_found")


async def test_a_report_that_comes_all_the_same_does_not_undo_it(house: House) -> None:
    key = await house.accepted()
    await cancelled(house, key)
    service = house.around.callers.token("notifications:report", kind="service")
    said = {"notification_id": str(key), "status": "delivered"}

    assert (await house.call("POST", "/email/status", token=service, json=said)).data["status"] == "cancelled"


async def test_fifty_who_cancel_one_at_once_are_all_told_so_and_one_step_is_kept(house: House) -> None:
    key = await house.accepted(send_at=tomorrow())

    answers = await asyncio.gather(*(cancelled(house, key) for _ in range(50)))

    assert {(answer.status, answer.data["status"]) for answer in answers} == {(200, "cancelled")}
    assert await house.count("notification_events") == 1


async def test_what_is_scheduled_for_somebody_who_is_erased_is_cancelled_and_nothing_of_it_kept(house: House) -> None:
    ada, bob = house.around.contacts.add(), house.around.contacts.add()
    scheduled = [await house.accepted(user_id=ada, send_at=tomorrow()) for _ in range(3)]
    soon, bobs = await house.accepted(user_id=ada), await house.accepted(user_id=bob, send_at=tomorrow())
    async with open_database(house.around.dsn, name="test") as database:
        assert await Erasures(database).scrub(ada, bite=2) == 1, "what is on its way is looked at again"

    left = {row[0] for row in await house.sql.fetch("SELECT notification_id FROM gateway.outbox")}
    assert left == {soon, bobs}
    for key in scheduled:
        found = (await house.call("GET", f"/notifications/{key}")).data
        assert (found["status"], found["reason"]) == ("cancelled", "user_erased")


class Unsteady:
    """Publishes, or does not, or does and says that it does not know. `published` is what can be sent."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.published: set[UUID] = set()

    async def publish(self, messages: Sequence[Message]) -> None:
        await asyncio.sleep(self._chance.random() * 0.002)
        fate = self._chance.random()
        if fate < 0.3:
            raise BrokerUnavailable("none was handed over")
        self.published |= {message.message_id for message in messages}
        if fate < 0.5:
            raise PublishFailed(messages, "not confirmed in time")


@pytest.mark.timeout(240)
async def test_no_race_of_cancelling_against_the_relays_both_cancels_and_sends(house: House) -> None:
    chance = random.Random(20)
    async with open_database(steady(house.around.dsn), name="race", size=10) as database:
        totals = [await race(house, database, chance, rows=30) for _ in range(40)]

    assert min(sum(taken for taken, _ in totals), sum(sent for _, sent in totals)) > 40, "each side often wins"


async def race(house: House, database: Database, chance: random.Random, *, rows: int) -> tuple[int, int]:
    """One round with three relays and two who cancel each row; answers how many were cancelled and how many sent."""
    keys = await seeded(house, rows)
    broker, outbox = Unsteady(chance), Outbox(database)
    terms = [Relaying(outbox, broker, asyncio.Event(), size=chance.randint(1, 8)) for _ in range(3)]
    stores = Cancellations(database), Notifications(database)
    over = asyncio.Event()

    async def sending(one: Relaying) -> None:
        while not over.is_set():
            await relay_once(one)

    async def cancelling(key: UUID) -> bool:
        await asyncio.sleep(chance.random() * 0.05)
        try:
            await cancel(key, *stores, owner=None, by=uuid4(), now=datetime.now(UTC))
        except AlreadyQueued:
            return False
        return True

    async def all_cancelling() -> list[bool]:
        try:
            return await asyncio.gather(*(cancelling(key) for key in [*keys, *keys]))
        finally:
            over.set()

    said, *_ = await asyncio.gather(all_cancelling(), *(sending(one) for one in terms))
    assert said is not None
    taken = {key for key, yes in zip([*keys, *keys], said, strict=True) if yes}
    refused = set(keys) - taken
    while await house.sql.fetchval("UPDATE gateway.outbox SET available_at = now(), lease_until = NULL RETURNING 1"):
        await relay_once(terms[0])

    assert taken & broker.published == set(), "cancelled and sent"
    assert refused == broker.published, "neither cancelled nor sent"
    statuses = await house.sql.fetch("SELECT id FROM gateway.notifications WHERE status = 'cancelled'")
    assert {row[0] for row in statuses} & set(keys) == taken
    return len(taken), len(refused)


async def seeded(house: House, rows: int) -> list[UUID]:
    """Notifications as they are once they are accepted."""
    keys = [uuid7() for _ in range(rows)]
    await house.sql.execute(
        """
        WITH kept AS (
            INSERT INTO gateway.notifications (
                id, caller_id, request_id, channel, user_id, template_code, priority, correlation_id, created_at,
                updated_at
            )
            SELECT id, id, id::text, 'email', id, 'welcome', 5, 'c', now(), now() FROM unnest($1::uuid[]) AS g (id)
            RETURNING id
        )
        INSERT INTO gateway.outbox (notification_id, queue, correlation_id, body)
        SELECT id, 'email.queue', 'c', '{}' FROM kept
        """,
        keys,
    )
    return keys
