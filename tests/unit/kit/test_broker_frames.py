"""Frames packed and read by hand: the library, which knows the whole protocol, reads and packs the same."""

from datetime import UTC, datetime
from typing import Any

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from carillon.kit.broker.rabbitmq import frames

NAMES = st.text("abcXYZ019._-", min_size=1, max_size=60)
YES_OR_NO = st.sampled_from([True, False])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - made aware


def read(data: bytes) -> list[tuple[int, Any]]:
    """Channel and frame of each, as the library reads them."""
    found = []
    while data:
        size, channel, frame = pamqp.frame.unmarshal(data)
        found.append((channel, frame))
        data = data[size:]
    return found


@given(channel=st.integers(1, 65_535), tag=st.integers(1, 2**62), multiple=YES_OR_NO)
def test_an_ack_is_read_by_the_library(*, channel: int, tag: int, multiple: bool) -> None:
    ((on, frame),) = read(frames.ack(channel, tag, multiple=multiple))

    assert on == channel
    assert (frame.name, frame.delivery_tag, frame.multiple) == ("Basic.Ack", tag, multiple)


def test_giving_back_asks_for_the_queue_again() -> None:
    ((on, frame),) = read(frames.requeue(3, 9))

    assert (on, frame.name, frame.delivery_tag, frame.multiple, frame.requeue) == (3, "Basic.Nack", 9, False, True)


@given(NAMES, NAMES, st.dictionaries(NAMES, TEXTS, max_size=4), NAMES, MOMENTS, st.binary(max_size=99))
def test_a_publish_is_read_by_the_library(
    exchange: str, key: str, headers: dict[str, str], message_id: str, moment: datetime, body: bytes
) -> None:
    properties = frames.properties(persistent=True, headers=headers, message_id=message_id, published_at=moment)
    data = frames.publish(7, exchange, key, mandatory=True) + frames.content(7, properties, body, largest=40)

    (_, method), (_, header), *bodies = read(data)

    assert (method.exchange, method.routing_key, method.mandatory) == (exchange, key, True)
    said = header.properties
    assert (said.headers or {}, said.message_id, said.delivery_mode) == (headers, message_id, 2)
    assert said.timestamp == moment.replace(microsecond=0)
    assert header.body_size == len(body)
    assert b"".join(each.value for _, each in bodies) == body
    assert all(len(each.value) <= 40 - frames.OVERHEAD for _, each in bodies)


@given(st.dictionaries(NAMES, TEXTS, max_size=4), st.none() | NAMES.filter(bool), st.none() | MOMENTS)
def test_properties_are_read_as_they_were_packed(
    headers: dict[str, str], message_id: str | None, moment: datetime | None
) -> None:
    packed = frames.properties(persistent=False, headers=headers, message_id=message_id, published_at=moment)

    found = frames.properties_of(frames.content(1, packed, b"", largest=4096)[7:-1])

    assert found == frames.Properties(headers, message_id, moment and moment.replace(microsecond=0))


@pytest.mark.parametrize(
    "said",
    [
        {"headers": {"x-delivery-count": 3, "k": "v"}},
        {"headers": {"x-death": [{"queue": "q", "time": datetime(2026, 3, 1, tzinfo=UTC), "count": 1}], "k": None}},
        {"headers": {"nested": {"a": {"b": 1.5}}}, "content_type": "text/plain", "app_id": "other", "priority": 3},
        {"correlation_id": "c", "reply_to": "r", "expiration": "60000", "message_id": "m", "user_id": "guest"},
    ],
)
def test_what_others_say_in_properties_is_read_too(said: dict[str, Any]) -> None:
    found = frames.properties_of(ContentHeader(properties=spec.Basic.Properties(**said)).marshal())

    assert found.headers == said.get("headers", {})
    assert found.message_id == said.get("message_id")


def test_headers_as_deep_as_no_stack_count_as_not_said() -> None:
    table = b""
    for _ in range(5000):
        table = b"\x01aF" + len(table).to_bytes(4, "big") + table
    header = ContentHeader(body_size=1).marshal()[:12] + b"\x20\x00" + len(table).to_bytes(4, "big") + table

    assert frames.properties_of(header) == frames.Properties()


@given(st.binary(max_size=80), st.sampled_from([b"", b"\x30\xc0", b"\xff\xfc"]))
def test_properties_that_cannot_be_read_count_as_not_said(rubbish: bytes, flags: bytes) -> None:
    header = ContentHeader(body_size=1).marshal()[:12] + flags + rubbish

    assert isinstance(frames.properties_of(header), frames.Properties)


@given(tag=st.integers(1, 2**62), again=YES_OR_NO, consumer=NAMES, exchange=NAMES, key=NAMES)
def test_a_delivery_of_the_library_is_read(*, tag: int, again: bool, consumer: str, exchange: str, key: str) -> None:
    packed = pamqp.frame.marshal(spec.Basic.Deliver(consumer, tag, again, exchange, key), 2)[7:-1]

    assert frames.method_of(packed) == frames.DELIVER
    assert frames.delivered(packed) == (tag, again)


@pytest.mark.parametrize(("method", "number"), [(spec.Basic.Ack, frames.ACK), (spec.Basic.Nack, frames.NACK)])
@pytest.mark.parametrize("multiple", [False, True])
def test_a_confirm_of_the_library_is_read(*, method: Any, number: int, multiple: bool) -> None:
    packed = pamqp.frame.marshal(method(5, multiple), 2)[7:-1]

    assert frames.method_of(packed) == number
    assert frames.settled(packed) == (5, multiple)


def test_a_body_over_several_frames_is_counted_by_its_header() -> None:
    header = ContentHeader(body_size=300_000, properties=spec.Basic.Properties()).marshal()

    assert frames.size_of(header) == 300_000


def test_a_name_that_amqp_has_no_room_for_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 255 bytes"):
        frames.publish(1, "", "ü" * 128, mandatory=True)


def test_a_large_body_arrives_whole() -> None:
    body = bytes(range(256)) * 1200
    data = frames.content(1, frames.properties(persistent=True), body, largest=131_072)

    (_, header), *bodies = read(data)

    assert len(bodies) == 3
    assert header.body_size == len(body)
    assert b"".join(each.value for _, each in bodies if isinstance(each, ContentBody)) == body
