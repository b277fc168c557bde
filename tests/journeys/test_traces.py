"""One trace for each notification, from its request to its report, through every service and on both brokers."""

import secrets
from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.fakes.fcm import FakeFcm
from tests.fakes.smtp import FakeSmtp
from tests.support.client import Client, connected
from tests.support.collector import Collector, Seen
from tests.support.platform import Platform, all_in_one, towards
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(180)

_CALLER = "12" * 8
"""The span in which the caller sends."""
_WAY = [
    "POST /api/v1/notifications",
    "email.queue publish",
    "email.queue process",
    "status.queue publish",
    "status.queue process",
]


@pytest.fixture(scope="module")
def together(
    tmp_path_factory: pytest.TempPathFactory, smtp: FakeSmtp, fcm: FakeFcm, traces: Collector
) -> Iterator[Platform]:
    """One process, told by OpenTelemetry's own variable."""
    folder = tmp_path_factory.mktemp("traced")
    told = {"OTEL_EXPORTER_OTLP_ENDPOINT": traces.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with all_in_one(folder, towards(smtp, fcm, folder) | told) as platform:
        yield platform


async def sent(client: Client, user_id: str, code: str) -> tuple[str, str]:
    """The trace that the caller has begun, and the notification."""
    trace_id = secrets.token_hex(16)
    body = {
        "notification_type": "email",
        "user_id": user_id,
        "template_code": code,
        "variables": {"name": "Ada", "link": "https://example.com/x"},
        "request_id": uuid4().hex,
    }
    headers = {"Authorization": f"Bearer {client.application}", "traceparent": f"00-{trace_id}-{_CALLER}-01"}
    url = f"{client.platform.gateway}/api/v1/notifications"
    async with client.session.post(url, json=body, headers=headers) as answer:
        assert answer.status == 202
        return trace_id, (await answer.json())["data"]["notification_id"]


async def whole(seen: Collector, trace_id: str) -> list[Seen]:
    """Once the gateway has noted the last report, and every process has sent its part."""

    def ended() -> bool:
        spans = seen.trace(trace_id)
        known = {_CALLER, *(span.span_id for span in spans)}
        told = {span.attributes.get("carillon.status") for span in spans if span.name == _WAY[-1]}
        return "delivered" in told and all(span.parent_id in known for span in spans)

    await eventually(ended, within=30, says="the trace is whole")
    return seen.trace(trace_id)


def only(spans: list[Seen], name: str) -> Seen:
    (found,) = [span for span in spans if span.name == name]
    return found


def chain(spans: list[Seen], last: Seen) -> list[str]:
    """The names from the first span to this one, each the parent of the next."""
    by_id = {span.span_id: span for span in spans}
    names = [last.name]
    while (parent := by_id.get(last.parent_id)) is not None:
        names.append(parent.name)
        last = parent
    assert last.parent_id == _CALLER, "the first is a child of the caller's own"
    return names[::-1]


async def follow_one(platform: Platform, seen: Collector) -> list[Seen]:
    async with connected(platform) as client:
        user = await client.register()
        trace_id, notification_id = await sent(client, user["user_id"], await client.publish())
        spans = await whole(seen, trace_id)

    assert chain(spans, only(spans, "status.queue process")) == _WAY
    assert chain(spans, next(span for span in spans if span.name.startswith("send ")))[:-1] == _WAY[:3]
    asked = {span.attributes["http.route"]: chain(spans, span) for span in spans if "http.route" in span.attributes}
    assert any(route.startswith("/api/v1/users") for route in asked), sorted(asked)
    assert any(route.startswith("/api/v1/templates") for route in asked), sorted(asked)
    named = [span for span in spans if "carillon.notification_id" in span.attributes]
    assert {span.attributes["carillon.notification_id"] for span in named} == {notification_id}
    assert not [span.name for span in spans if span.failed]
    said = str([span.attributes for span in spans])
    assert user["email"] not in said
    assert user["user_id"] not in said
    return spans


@pytest.mark.slow  # a platform of its own
async def test_one_trace_leads_through_everything_in_one_process_on_postgresql(
    together: Platform, traces: Collector
) -> None:
    spans = await follow_one(together, traces)

    assert {span.service for span in spans} == {"carillon"}
    assert only(spans, "email.queue process").attributes["messaging.system"] == "postgresql"


async def test_one_trace_leads_through_four_processes_on_rabbitmq(processes_apart: Platform, traces: Collector) -> None:
    spans = await follow_one(processes_apart, traces)

    named = {span.service for span in spans}
    assert named == {"carillon-gateway", "carillon-users", "carillon-templates", "carillon-email_worker"}
    assert only(spans, "email.queue process").attributes["messaging.system"] == "rabbitmq"


async def test_a_retry_is_a_span_of_its_own(processes_apart: Platform, traces: Collector, smtp: FakeSmtp) -> None:
    async with connected(processes_apart) as client:
        user = await client.register()
        smtp.answers[user["email"]] = "451 later"
        trace_id, _ = await sent(client, user["user_id"], await client.publish())
        await eventually(lambda: user["email"] in smtp.attempts, says="the first try is refused")
        del smtp.answers[user["email"]]
        spans = await whole(traces, trace_id)

    tries = [span for span in spans if span.name == "email.queue process"]
    assert [span.attributes["carillon.outcome"] for span in tries] == ["retried", "delivered"]
    assert [span.failed for span in tries] == [True, False]
    assert len({span.parent_id for span in tries}) == 1
