"""Somebody is erased while one of their notifications waits: nothing personal is left, and nothing is sent."""

import re
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from tests.fakes.smtp import FakeSmtp
from tests.support.client import FINAL, Client
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(180)

METADATA = {"order": "of Ada"}


async def test_who_is_erased_leaves_nothing_behind_and_gets_nothing_more(client: Client, smtp: FakeSmtp) -> None:
    email, code = f"{uuid4().hex}@example.com", await client.publish()
    user_id = (await client.register(email=email))["user_id"]
    delivered = await ended(client, user_id, code)
    smtp.answers[re.escape(email)] = f"550 5.1.1 <{email}>: no such user"
    refused = await ended(client, user_id, code)
    del smtp.answers[re.escape(email)]
    waiting, sent = await held_back(client, user_id, code), len(smtp.to(email))
    assert (delivered["status"], delivered["metadata"]) == ("delivered", METADATA)
    assert (refused["status"], refused["error"]) == ("failed", "550 5.1.1 <…>: no such user")

    url = f"{client.platform.users}/api/v1/users/{user_id}"
    assert (await client.call("DELETE", url, token=client.admin)).status == 200

    assert (await client.settled(waiting))["reason"] == "user_not_found"
    for notification_id in (delivered["notification_id"], refused["notification_id"], waiting):
        await eventually(partial(blank, client, notification_id), within=60, says=f"{notification_id} is blank")
    assert (await client.notify(user_id, code)).status == 404
    assert len(smtp.to(email)) == sent
    assert email not in client.platform.log.read_text()


async def test_an_erased_address_joins_anew_and_stays_suppressed_until_that_is_lifted(
    client: Client, smtp: FakeSmtp
) -> None:
    email, code = f"{uuid4().hex}@example.com", await client.publish()
    users = f"{client.platform.users}/api/v1"
    before = (await client.register(email=email))["user_id"]
    assert (await client.call("DELETE", f"{users}/users/{before}", token=client.admin)).status == 200

    again = (await client.register(email=email.upper()))["user_id"]

    assert again != before
    suppressed = await ended(client, again, code)
    assert (suppressed["status"], smtp.to(email)) == ("suppressed", [])
    steps = (await client.notification(suppressed["notification_id"], "/timeline"))["steps"]
    assert steps[-1]["detail"]["rule"] == "suppressed_address"

    lifted = await client.call("POST", f"{users}/suppressions/lift", token=client.admin, json={"email": email})
    assert lifted.status == 200

    async def written_to() -> bool:
        return bool((await ended(client, again, code))["status"] == "delivered")

    await eventually(written_to, within=30, says="the address is written to again")


async def ended(client: Client, user_id: str, code: str) -> dict[str, Any]:
    accepted = await client.notify(user_id, code, metadata=METADATA)
    return await client.settled(accepted.data["notification_id"])


async def held_back(client: Client, user_id: str, code: str) -> str:
    """A notification that waits for the end of its user's quiet hours."""
    now = datetime.now(UTC)
    quiet = {
        "start": f"{now - timedelta(hours=1):%H:%M}",
        "end": f"{now + timedelta(hours=2):%H:%M}",
        "timezone": "UTC",
    }
    url = f"{client.platform.users}/api/v1/users/{user_id}/preferences"
    assert (await client.call("PATCH", url, token=client.admin, json={"quiet_hours": quiet})).status == 200
    notification_id: str = ""

    async def waits() -> bool:
        nonlocal notification_id
        accepted = await client.notify(user_id, code, metadata=METADATA)
        notification_id = accepted.data["notification_id"]
        return await stays(client, notification_id)

    await eventually(waits, within=30, says="the worker has heard of the quiet hours")
    return notification_id


async def stays(client: Client, notification_id: str) -> bool:
    """Whether it waits; False once it has gone out."""
    found: dict[str, Any] = {}

    async def decided() -> bool:
        found.update(await client.notification(notification_id))
        return (found["status"], found["stage"]) == ("pending", "scheduled") or found["status"] in FINAL

    await eventually(decided, within=30)
    return bool(found["status"] == "pending")


async def blank(client: Client, notification_id: str) -> bool:
    found = await client.notification(notification_id)
    steps = (await client.notification(notification_id, "/timeline"))["steps"]
    return not any([found["metadata"], found["error"], *(step["detail"] for step in steps)])
