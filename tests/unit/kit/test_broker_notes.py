"""What the broker writes into headers, and how RabbitMQ's own burials read."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from pamqp import commands as spec
from pamqp.header import ContentHeader

from carillon.kit.broker import notes
from carillon.kit.broker.port import (
    DEAD_AT_HEADER,
    PUBLISHED_AT_HEADER,
    REASON_HEADER,
    RETRIES_HEADER,
    SOURCE_QUEUE_HEADER,
    Topology,
)
from carillon.kit.broker.rabbitmq import frames, wire

TOPOLOGY = Topology("direct", ("email.queue",), "failed.queue", "retry", (5.0,), "events")
MOMENT = datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC)
ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")


def delivered(queue_headers: dict[str, Any], *, message_id: str | None = str(ID)) -> wire.Arrived:
    properties = spec.Basic.Properties(headers=queue_headers, message_id=message_id, timestamp=MOMENT)
    return wire.Arrived(1, False, frames.properties_of(ContentHeader(properties=properties).marshal()), b"")


def death(queue: str, reason: str) -> dict[str, Any]:
    return {"queue": queue, "reason": reason, "time": MOMENT, "count": 1, "exchange": "", "routing-keys": [queue]}


def test_a_retry_keeps_the_headers_and_counts() -> None:
    once = notes.retried({"k": "v"}, reason="busy")
    twice = notes.retried(once, reason="still busy")

    assert twice == {"k": "v", REASON_HEADER: "still busy", RETRIES_HEADER: "2"}


@pytest.mark.parametrize("value", ["", "many", "-1", "²", "1.5", "9" * 5000])
def test_a_retry_count_that_cannot_be_read_counts_as_none(value: str) -> None:
    assert notes.retries_of({RETRIES_HEADER: value}) == 0


def test_a_dead_letter_says_when_in_utc() -> None:
    elsewhere = MOMENT.astimezone(timezone(timedelta(hours=5)))

    headers = notes.dead({"k": "v"}, reason="gone", queue="email.queue", published_at=elsewhere, now=MOMENT)

    assert headers["k"] == "v"
    assert headers[SOURCE_QUEUE_HEADER] == "email.queue"
    assert headers[PUBLISHED_AT_HEADER] == headers[DEAD_AT_HEADER] == "2026-03-01T12:00:00.123Z"


def test_the_brokers_own_headers_are_not_handed_out() -> None:
    headers = {"k": "v", "x-death": [death("retry.5s", "expired")], "x-first-death-queue": "q", "x-delivery-count": 2}

    delivery = wire.delivery(delivered(headers), "email.queue", TOPOLOGY)

    assert delivery.headers == {"k": "v"}
    assert (delivery.redelivered, delivery.delivery_count) == (True, 2)


def test_what_the_broker_buried_tells_the_brokers_reason_also_after_earlier_retries() -> None:
    headers = {
        REASON_HEADER: "try later",
        "x-death": [death("email.queue", "delivery_limit"), death("retry.5s", "expired")],
    }

    delivery = wire.delivery(delivered(headers), "failed.queue", TOPOLOGY)

    assert delivery.headers[REASON_HEADER] == "delivery_limit"
    assert delivery.headers[SOURCE_QUEUE_HEADER] == "email.queue"


def test_a_dead_letter_back_from_a_rung_keeps_its_first_reason() -> None:
    headers = {
        REASON_HEADER: "unknown address",
        SOURCE_QUEUE_HEADER: "email.queue",
        "x-death": [death("retry.5s", "expired")],
    }

    delivery = wire.delivery(delivered(headers), "failed.queue", TOPOLOGY)

    assert delivery.headers[REASON_HEADER] == "unknown address"


@pytest.mark.parametrize("queue", ["email.queue", "failed.queue"])
@pytest.mark.parametrize("nonsense", ["many", None, 1.5, [], ["x"], [None], {"queue": 5}])
def test_headers_that_another_program_made_up_stop_nobody(queue: str, nonsense: Any) -> None:
    headers = {"x-delivery-count": nonsense, "x-death": nonsense, RETRIES_HEADER: nonsense}

    delivery = wire.delivery(delivered(headers), queue, TOPOLOGY)

    assert (delivery.redelivered, delivery.delivery_count) == (False, 0)


@pytest.mark.parametrize("suffix", ["", "#1f2e3d4c"])
def test_the_id_is_read_with_or_without_the_mark_of_a_second_copy(suffix: str) -> None:
    assert wire.delivery(delivered({}, message_id=f"{ID}{suffix}"), "email.queue", TOPOLOGY).message_id == ID


def test_a_foreign_id_becomes_a_stable_one() -> None:
    first, second = (wire.delivery(delivered({}, message_id="order 7"), "email.queue", TOPOLOGY) for _ in range(2))

    assert first.message_id == second.message_id
