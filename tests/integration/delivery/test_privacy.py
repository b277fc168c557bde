"""A provider that quotes the address of whom it refuses: the worker keeps, tells and logs none."""

import msgspec
import pytest

from carillon.kit.database import open_database
from tests.integration.delivery.house import House
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(90)

REPLIES = {
    "gone": "550 5.1.1 <gone@example.com>: gone is not here any more",
    "busy": "451 4.7.1 try gone@example.com or busy@example.com later",
}


async def test_a_server_that_quotes_addresses_leaves_none_in_tables_reports_or_logs(
    neighbours: House, capfd: pytest.CaptureFixture[str]
) -> None:
    neighbours.smtp.answers |= {f"{local}@.*": reply for local, reply in REPLIES.items()}
    gone, busy = (neighbours.request(neighbours.person(f"{local}@example.com")) for local in REPLIES)

    async with neighbours.worker(max_attempts=2):
        await neighbours.publish(gone, busy)
        await eventually(lambda: len(neighbours.dead) == 2, within=60)
        await eventually(lambda: all(neighbours.status(request) == "failed" for request in (gone, busy)))

    async with open_database(neighbours.settings.database_url, name="test") as database:
        rows = await database.fetch("SELECT error, d::text AS whole FROM email_worker.deliveries d ORDER BY error")
    assert [row["error"] for row in rows] == ["451 4.7.1 try … or … later", "550 5.1.1 <…>: … is not here any more"]
    assert neighbours.told(gone, "failed")[0].error == "550 5.1.1 <…>: … is not here any more"
    left = [*(row["whole"] for row in rows), msgspec.json.encode(neighbours.reports).decode(), *capfd.readouterr()]
    left += [str(dead.headers) for dead in neighbours.dead]
    assert [text for text in left if "example.com" in text] == []
