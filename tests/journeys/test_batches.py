"""Many in one request, as an application sends them, from the request to the mails on the wire."""

from uuid import uuid4

import pytest

from carillon.sdk.client import connect
from tests.fakes.smtp import FakeSmtp
from tests.support.client import Client

pytestmark = pytest.mark.timeout(180)


async def test_a_batch_reaches_everybody_in_it_once_and_tells_of_each(client: Client, smtp: FakeSmtp) -> None:
    people = [await client.register() for _ in range(5)]
    code, run = await client.publish(), uuid4().hex
    bodies = [
        {
            "notification_type": "email",
            "user_id": person["user_id"],
            "template_code": code,
            "variables": {"name": "Ada", "link": "https://example.com/x"},
            "request_id": f"{run}-{number}",
        }
        for number, person in enumerate(people)
    ]
    bodies.insert(2, {**bodies[0], "request_id": f"{run}-nobody", "user_id": str(uuid4())})

    async with connect(client.platform.gateway, token=client.application) as carillon:
        report = await carillon.send_batch(bodies)
        again = await carillon.send_batch(bodies)

    assert (report.accepted, report.replayed, report.refused) == (5, 0, 1)
    assert (again.accepted, again.replayed, again.refused) == (0, 5, 1)
    refused = report.results.pop(2)
    assert (refused.index, refused.error) == (2, "user_not_found")
    for result, person in zip(report.results, people, strict=True):
        assert (await client.settled(str(result.notification_id)))["status"] == "delivered"
        assert len(smtp.to(person["email"])) == 1
