"""Status call-backs over HTTP: a provider's word counts by rank, once, and only from a service."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from carillon.contracts.channels import STATUS_QUEUE
from carillon.kit.broker.port import Message
from tests.integration.gateway.house import Answer, House
from tests.support.waiting import eventually
from tests.unit.gateway.reports import delivered, encoded

REPORTER = ("notifications:report",)


async def told(house: House, key: object, status: str, *, channel: str = "email", **fields: Any) -> Answer:
    token = house.around.callers.token(*REPORTER, kind="service")
    body = {"notification_id": str(key), "status": status, **fields}
    return await house.call("POST", f"/{channel}/status/", token=token, json=body)


async def kinds(house: House, key: UUID) -> list[str]:
    steps = (await house.call("GET", f"/notifications/{key}/timeline")).data["steps"]
    return [step["kind"] for step in steps]


async def test_delivered_then_failed_is_a_bounce(house: House) -> None:
    key = await house.accepted()

    delivered = await told(house, key, "delivered")
    bounced = await told(house, key, "failed", error="550 mailbox gone")
    late = await told(house, key, "delivered")

    assert (delivered.status, delivered.data["status"]) == (200, "delivered")
    assert (bounced.data["status"], late.data["status"]) == ("failed", "failed")
    found = (await house.call("GET", f"/notifications/{key}")).data
    assert (found["reason"], found["error"]) == ("bounced", "550 mailbox gone")
    assert await kinds(house, key) == ["accepted", "delivered", "bounced"]


@pytest.mark.parametrize("status", ["failed", "pending"])
async def test_an_address_in_a_providers_word_is_not_kept(house: House, status: str) -> None:
    key = await house.accepted()

    answer = await told(house, key, status, error="550 5.1.1 <ada@example.com> unknown")

    assert answer.status == 200
    kept = await house.sql.fetchval("SELECT array_agg(e.reason) FROM gateway.notification_events e")
    assert "550 5.1.1 <…> unknown" in kept
    everything = await house.sql.fetch("SELECT n::text FROM gateway.notifications n")
    assert "ada@" not in str((kept, everything, answer.body))


async def test_failed_before_any_delivery_is_outranked_by_a_delivery(house: House) -> None:
    key = await house.accepted()

    failed = await told(house, key, "failed")
    delivered = await told(house, key, "delivered")

    assert (failed.data["status"], delivered.data["status"]) == ("failed", "delivered")


async def test_a_bounce_that_overtakes_the_workers_delivery_stands(house: House) -> None:
    key = await house.accepted()

    early = await told(house, key, "failed", error="550 mailbox gone")
    async with house.loop("recorder"):
        await house.broker.publish([Message(STATUS_QUEUE, encoded(delivered(key)))])

        async def recorded() -> bool:
            return "delivered" in await kinds(house, key)

        await eventually(recorded, says="the worker's report is recorded")
    again = await told(house, key, "failed", error="550 mailbox gone")

    assert (early.data["status"], again.data["status"]) == ("failed", "failed")
    assert (await house.call("GET", f"/notifications/{key}")).data["error"] == "550 mailbox gone"
    assert sorted(await kinds(house, key)) == ["accepted", "delivered", "failed", "looked_up"]
    assert (await told(house, key, "delivered")).data["status"] == "delivered"
    assert (await told(house, key, "failed", error="550 mailbox gone")).data["status"] == "failed"


async def test_pending_lowers_nothing_and_is_noted(house: House) -> None:
    key = await house.accepted()
    await told(house, key, "delivered")

    pending = await told(house, key, "pending", error="queued at the far side")

    assert pending.data["status"] == "delivered"
    assert "reported" in await kinds(house, key)


async def test_the_same_word_twice_adds_nothing(house: House) -> None:
    key = await house.accepted()

    for _ in range(3):
        await told(house, key, "delivered", timestamp="2026-05-01T12:00:00Z")
        await told(house, key, "failed", error="gone")

    assert sorted(await kinds(house, key)) == ["accepted", "bounced", "delivered"]


@pytest.mark.parametrize(
    "timestamp",
    ["2026-05-01T12:00:00", "2999-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", None],
)
async def test_any_clock_is_borne_and_kept_between_acceptance_and_now(house: House, timestamp: str | None) -> None:
    key = await house.accepted()

    answer = await told(house, key, "delivered", timestamp=timestamp)

    assert answer.status == 200
    steps = (await house.call("GET", f"/notifications/{key}/timeline")).data["steps"]
    now = await house.sql.fetchval("SELECT now()")
    assert steps[0]["at"] <= steps[1]["at"] <= now.isoformat()


async def test_what_is_not_there_or_of_another_channel_is_404(house: House) -> None:
    key = await house.accepted()

    answers = [
        await told(house, uuid4(), "delivered"),
        await told(house, "no-uuid", "delivered"),
        await told(house, key, "delivered", channel="push"),
    ]

    assert [(answer.status, answer.body["error"]) for answer in answers] == [(404, "not_found")] * 3


@pytest.mark.parametrize(
    "fields", [{"status": "lost"}, {"error": "a\0b"}, {"error": "x" * 2001}, {"timestamp": "soon"}, {"colour": "red"}]
)
async def test_a_bad_word_is_refused(house: House, fields: dict[str, Any]) -> None:
    answer = await told(house, uuid4(), **{"status": "failed", **fields})

    assert (answer.status, answer.body["error"]) == (422, "validation_failed")


async def test_only_services_that_may_report_are_heard(house: House) -> None:
    key = await house.accepted()
    body = {"notification_id": str(key), "status": "delivered"}
    person = house.around.callers.token(*REPORTER, kind="user")
    sender = house.around.callers.token("notifications:send", kind="service")

    for token in (person, sender):
        assert (await house.call("POST", "/email/status", token=token, json=body)).status == 403
