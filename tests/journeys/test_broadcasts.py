"""One text to many people, from the request to the mails on the wire."""

from uuid import uuid4

import pytest

from tests.fakes.smtp import FakeSmtp
from tests.support.client import Client
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(180)


async def test_a_broadcast_reaches_whoever_fits_once_and_tells_what_became_of_each(
    client: Client, smtp: FakeSmtp
) -> None:
    platform, group = client.platform, uuid4().hex
    people = [await client.register() for _ in range(3)]
    silent = await client.register(preferences={"email": False, "push": True})
    for person in (*people, silent):
        url = f"{platform.users}/api/v1/users/{person['user_id']}"
        changed = await client.call("PATCH", url, token=client.admin, json={"attributes": {"group": group}})
        assert changed.status == 200, changed.body
    body = {
        "notification_type": "email",
        "template_code": await client.publish(),
        "variables": {"name": "Friend", "link": "https://example.com/news"},
        "request_id": group,
        "audience": {"filter": {"attributes": {"group": group}}},
    }

    begun = await client.call("POST", f"{platform.gateway}/api/v1/broadcasts", token=client.admin, json=body)
    assert (begun.status, begun.data["total"]) == (201, 4), begun.body
    url = f"{platform.gateway}/api/v1/broadcasts/{begun.data['broadcast_id']}"

    async def ended() -> bool:
        told = (await client.call("GET", url, token=client.admin)).data
        return bool(told["status"] == "finished" and (told["delivered"], told["suppressed"]) == (3, 1))

    await eventually(ended, within=60, says="three delivered, one suppressed")
    assert [len(smtp.to(person["email"])) for person in people] == [1, 1, 1]
    assert smtp.to(silent["email"]) == []
