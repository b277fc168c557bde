"""One id, searched for in the logs of five processes, tells the whole life of a notification, as its timeline does."""

import json
from typing import Any
from uuid import uuid4

import pytest

from tests.support.client import Client, connected
from tests.support.platform import Platform
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(180)


def lines(platform: Platform, correlation_id: str) -> list[dict[str, Any]]:
    """In the order of their times; but for the one that is being written, each is JSON."""
    whole = [line for line in platform.log.read_text().splitlines(keepends=True) if line.endswith("\n")]
    found = [json.loads(line) for line in whole if correlation_id in line]
    return sorted(found, key=lambda line: str(line["timestamp"]))


async def sent(client: Client, email: str) -> tuple[str, str]:
    """The id of the caller's choice, and the notification's."""
    user = await client.register(email=email)
    correlation_id = f"order-{uuid4().hex}"
    body = {
        "notification_type": "email",
        "user_id": user["user_id"],
        "template_code": await client.publish(),
        "variables": {"name": "Ada", "link": "https://example.com/x"},
        "request_id": uuid4().hex,
    }
    headers = {"Authorization": f"Bearer {client.application}", "X-Correlation-ID": correlation_id}
    url = f"{client.platform.gateway}/api/v1/notifications"
    async with client.session.post(url, json=body, headers=headers) as answer:
        assert answer.status == 202
        return correlation_id, (await answer.json())["data"]["notification_id"]


async def delivered(client: Client) -> float:
    url = client.platform.environments["email_worker"][1]["READY_URL"]
    async with client.session.get(f"{url}/metrics") as answer:
        text = await answer.text()
    return sum(
        float(line.split()[-1])
        for line in text.splitlines()
        if line.startswith("carillon_deliveries_total{") and 'outcome="delivered"' in line
    )


async def test_one_id_finds_the_whole_life_of_a_notification_in_the_logs_of_all_processes(
    processes_apart: Platform,
) -> None:
    email = f"{uuid4().hex}@example.com"
    async with connected(processes_apart) as client:
        before = await delivered(client)
        correlation_id, notification_id = await sent(client, email)
        assert (await client.settled(notification_id))["status"] == "delivered"
        kinds = await client.kinds(notification_id)
        after = await delivered(client)

    def recorded() -> bool:
        return any(line["event"] == "report_recorded" for line in lines(processes_apart, correlation_id))

    await eventually(recorded, within=10, says="the report is in the log")
    found = lines(processes_apart, correlation_id)
    told = [(line["service"], line.get("step") or line["event"]) for line in found]
    life = [
        ("gateway", "notification_accepted"),
        ("email_worker", "looked_up"),
        ("email_worker", "rendered"),
        ("email_worker", "delivered"),
        ("gateway", "report_recorded"),
    ]
    assert [one for one in told if one in life] == life
    assert (
        told.count(("gateway", "notification_queued")) == 1
    )  # told once the broker has confirmed: a worker may be first
    assert {"users", "templates"} <= {service for service, event in told if event == "request_answered"}
    assert {line.get("notification_id", notification_id) for line in found} == {notification_id}
    assert email not in json.dumps(found)
    assert kinds == ["accepted", "queued", "looked_up", "rendered", "delivered"]
    assert after - before >= 1
