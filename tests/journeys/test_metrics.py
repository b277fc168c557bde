"""What a running Carillon exposes is what the reference lists, the alerts judge and the dashboard shows."""

import json
from uuid import uuid4

import pytest

from tests.support import observing, promql
from tests.support.client import Client
from tests.support.observing import ALERTS, DASHBOARD
from tests.support.promql import Exposed
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(180)

_RARE = [
    (f"carillon_http_request_seconds_{part}", label) for part in ("count", "bucket") for label in ("status", "route")
]
"""A good platform answers no 5xx while it is looked at."""


async def scraped(client: Client) -> list[str]:
    urls = {environment["READY_URL"] for _, environment in client.platform.environments.values()}
    texts = []
    for url in urls:
        async with client.session.get(f"{url}/metrics") as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            texts.append(await answer.text())
    return texts


@pytest.fixture
async def known(client: Client) -> Exposed:
    """After a mail and a push were delivered and the gateway has measured."""
    user = await client.register(push_token=f"device-{uuid4().hex}")
    for channel in ("email", "push"):
        sent = await client.notify(user["user_id"], await client.publish(channel), channel)
        assert (await client.settled(sent.data["notification_id"]))["status"] == "delivered"
    found: list[Exposed] = []

    async def measured() -> bool:
        found[:] = [promql.exposed(await scraped(client), observing.declared())]
        queues = found[0].values.get(("carillon_queue_ready", "queue"), set())
        endings = found[0].values.get(("carillon_notifications_total", "status"), set())
        return "email.bulk.queue" in queues and {"accepted", "delivered"} <= endings

    await eventually(measured, within=20, every=0.2, says="the gateway has measured its queues")
    return found[0]


async def test_everything_that_is_exposed_is_in_the_reference_and_the_other_way_round(known: Exposed) -> None:
    told = {name for name in known.labels if name.startswith("carillon_") and not name.endswith("_created")}
    listed = observing.declared()

    assert told == listed.keys()
    for name in told:
        assert known.labels[name] == listed[name], name


async def test_whatever_alerts_and_dashboard_name_is_exposed(known: Exposed) -> None:
    for one in observing.of_alerts(ALERTS.read_text()) + observing.of_dashboard(DASHBOARD.read_text()):
        assert promql.problems(one.text, one.legend, known, rare=_RARE) == [], one.where
    (service,) = [v for v in json.loads(DASHBOARD.read_text())["templating"]["list"] if v["name"] == "service"]
    metric, label = service["definition"].removeprefix("label_values(").removesuffix(")").split(", ")
    assert label in known.labels[metric]


_BROKEN = [
    ("carillon_queue_ready", "carillon_queue_length", "no metric carillon_queue_length"),
    ('state=\\"busy\\"', 'state=\\"used\\"', "nothing matches carillon_database_connections{state=used}"),
    ('outcome=\\"delivered\\"', 'result=\\"delivered\\"', "no label result of carillon_deliveries_total"),
    ("max by (service, provider)", "max by (service, vendor)", "no label vendor to group or to show by"),
    ("{{cache}} {{result}}", "{{cache}} {{outcome}}", "no label outcome to group or to show by"),
]


async def test_a_dashboard_that_names_something_else_is_found_out(known: Exposed) -> None:
    text = DASHBOARD.read_text()
    for right, wrong, problem in _BROKEN:
        assert right in text
        found = [
            said
            for one in observing.of_dashboard(text.replace(right, wrong))
            for said in promql.problems(one.text, one.legend, known, rare=_RARE)
        ]
        assert any(said.startswith(problem) for said in found), (wrong, found)
