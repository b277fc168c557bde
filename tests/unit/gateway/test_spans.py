"""What the spans of the gateway's queues tell: each how its own message fared."""

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from carillon.gateway.consumer import reports_handler
from carillon.gateway.domain import Due
from carillon.gateway.tracing import published
from carillon.kit.broker.port import Message, PublishFailed, RetryAfter
from carillon.kit.ids import uuid7
from carillon.kit.telemetry.tracing import traces_given_to
from tests.unit.gateway.reports import delivered, encoded
from tests.unit.gateway.tables import Tables
from tests.unit.gateway.test_consumer import delivery

TRACE = f"00-{'ab' * 16}-{'cd' * 8}-01"


@pytest.fixture
def seen() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    with traces_given_to(SimpleSpanProcessor(exporter), "gateway", {}):
        yield exporter


def told(seen: InMemorySpanExporter) -> dict[str, object]:
    """Of each message: the error, if any."""
    return {
        str(span.attributes["carillon.notification_id"]): span.attributes.get("error.type")
        for span in seen.get_finished_spans()
        if span.attributes
    }


def test_what_the_broker_has_confirmed_did_not_fail_with_its_neighbour(seen: InMemorySpanExporter) -> None:
    body, now = msgspec.json.encode({"traceparent": TRACE}), datetime.now(UTC)
    fine, refused = (Due(uuid7(), 0, "email.queue", "one", body, now) for _ in range(2))

    with pytest.raises(PublishFailed), published([fine, refused]):
        raise PublishFailed([Message("email.queue", body, {}, refused.notification_id)], "full")

    assert told(seen) == {str(fine.notification_id): None, str(refused.notification_id): "PublishFailed"}


async def test_a_report_that_could_not_be_recorded_did_not_end_well(seen: InMemorySpanExporter) -> None:
    tables = Tables()
    tables.away = True
    word = msgspec.structs.replace(delivered(uuid7()), traceparent=TRACE)

    [outcome] = await reports_handler(tables)([delivery(encoded(word))])

    assert isinstance(outcome, RetryAfter)
    assert told(seen) == {str(word.notification_id): "Unavailable"}
