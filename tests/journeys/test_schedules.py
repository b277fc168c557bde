"""Sent later, cancelled in time, and too late: from the request to the mail that comes or does not."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.fakes.smtp import FakeSmtp
from tests.support.client import Answer, Client

pytestmark = pytest.mark.timeout(180)


async def cancelled(client: Client, notification_id: str) -> Answer:
    url = f"{client.platform.gateway}/api/v1/notifications/{notification_id}/cancel"
    return await client.call("POST", url, token=client.application)


async def test_what_is_to_be_sent_later_is_sent_then_and_not_before(client: Client, smtp: FakeSmtp) -> None:
    user, code = await client.register(), await client.publish()
    at = datetime.now(UTC) + timedelta(seconds=2)

    accepted = await client.notify(user["user_id"], code, send_at=at.isoformat())

    assert (accepted.status, accepted.data["stage"]) == (202, "scheduled")
    ended = await client.settled(accepted.data["notification_id"])
    assert ended["status"] == "delivered"
    assert len(smtp.to(user["email"])) == 1
    steps = (await client.notification(ended["notification_id"], "/timeline"))["steps"]
    assert [step["kind"] for step in steps][:3] == ["accepted", "scheduled", "queued"]
    assert datetime.fromisoformat(steps[2]["at"]) >= at
    assert (await cancelled(client, ended["notification_id"])).body["error"] == "already_ended"


async def test_what_is_cancelled_before_its_time_never_comes(client: Client, smtp: FakeSmtp) -> None:
    user, code = await client.register(), await client.publish()
    at = datetime.now(UTC) + timedelta(seconds=4)
    kept = (await client.notify(user["user_id"], code, send_at=at.isoformat())).data["notification_id"]
    dropped = (await client.notify(user["user_id"], code, send_at=at.isoformat())).data["notification_id"]

    taken_back = await cancelled(client, dropped)

    assert (taken_back.status, taken_back.data["status"]) == (200, "cancelled")
    assert (await client.settled(kept))["status"] == "delivered"
    assert (await client.notification(dropped))["status"] == "cancelled"
    assert len(smtp.to(user["email"])) == 1, "its time has come for both"
    assert await client.kinds(dropped) == ["accepted", "scheduled", "cancelled"]


async def test_what_quiet_hours_would_hold_past_its_time_expires(client: Client, smtp: FakeSmtp) -> None:
    user, code = await client.register(), await client.publish()
    now = datetime.now(UTC)
    hours: dict[str, Any] = {
        "start": f"{now - timedelta(hours=1):%H:%M}",
        "end": f"{now + timedelta(hours=3):%H:%M}",
        "timezone": "UTC",
    }
    url = f"{client.platform.users}/api/v1/users/{user['user_id']}/preferences"
    assert (await client.call("PATCH", url, token=client.admin, json={"quiet_hours": hours})).status == 200

    until = (now + timedelta(hours=1)).isoformat()
    accepted = await client.notify(user["user_id"], code, expires_at=until)

    ended = await client.settled(accepted.data["notification_id"])
    assert (ended["status"], ended["reason"], ended["attempts"]) == ("expired", "quiet_hours", 0)
    assert (await client.kinds(ended["notification_id"]))[-1] == "expired"
    assert smtp.to(user["email"]) == []
