"""What a push says: in words that FCM takes, with keys that derive from the notification alone."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from carillon.contracts.messages import DeliveryRequested
from carillon.contracts.templates import Content, PublishedTemplate
from carillon.contracts.users import Contact, Decision, Device, DevicePlatform
from carillon.delivery.domain import Refused
from carillon.push_worker.channel import Push, PushChannel
from carillon.simulators.domain.fcm import Taken, judge

ID = UUID("01890000-0000-7000-8000-000000000001")


def composed(
    tokens: list[str], *, priority: int = 5, others: tuple[DevicePlatform, ...] = (), **content: Any
) -> Push | Refused:
    request = DeliveryRequested(
        notification_id=ID,
        generation=0,
        channel="push",
        user_id=ID,
        template_code="welcome",
        variables={},
        priority=priority,
        accepted_at=datetime(2026, 1, 1, tzinfo=UTC),
        correlation_id="test",
    )
    contact = Contact(
        user_id=ID,
        name="Ada",
        email=None,
        locale=None,
        devices=[
            *(Device(ID, platform, "https://push.example.com/x") for platform in others),
            *(Device(ID, "fcm", token) for token in tokens),
        ],
        decision=Decision(allowed=True, layer="channel_default", reason=""),
        version=1,
    )
    words = Content(**({"title": "Hello", "body": "Hi"} | content))
    published = PublishedTemplate(
        code="welcome", channel="push", language="en", version=1, category=None, at_most_once=False, content=words
    )
    return PushChannel([]).compose(request, contact, published, words)


def push(*tokens: str, **given: Any) -> Push:
    found = composed(list(tokens) or ["token"], **given)
    assert isinstance(found, Push)
    return found


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"image": "https://example.com/i.png", "link": "https://example.com/x"},
        {"link": "http://example.com/x"},
        {"title": "Grüße \ud83d\udd14".encode("utf-16", "surrogatepass").decode("utf-16")},
        {"title": None},
    ],
)
def test_fcm_takes_what_we_compose(content: dict[str, Any]) -> None:
    body = json.dumps({"message": {"token": "token", **push(**content).message}}).encode()
    assert isinstance(judge(body), Taken)


def test_title_text_image_and_link_are_where_apps_and_browsers_look() -> None:
    message = push(image="https://example.com/i.png", link="https://example.com/x").message

    assert message["notification"] == {"title": "Hello", "body": "Hi", "image": "https://example.com/i.png"}
    assert message["data"] == {"notification_id": str(ID), "link": "https://example.com/x"}
    assert message["webpush"]["fcm_options"] == {"link": "https://example.com/x"}


def test_every_collapse_key_derives_from_the_notification() -> None:
    message = push().message

    assert message["android"]["collapse_key"] == ID.hex
    assert message["apns"]["headers"]["apns-collapse-id"] == str(ID)
    assert message["webpush"]["headers"]["Topic"] == ID.hex


def test_the_high_lane_is_urgent_on_the_device_too() -> None:
    assert push(priority=9).message["android"]["priority"] == "HIGH"
    assert push(priority=5).message["android"]["priority"] == "NORMAL"


def test_tokens_that_cannot_be_any_are_left_out() -> None:
    assert push("good", "", "with space", "line\nbreak", "x" * 5000, "ümlaut").tokens == ["good"]


@pytest.mark.parametrize(
    ("tokens", "content", "reason"),
    [
        ([], {}, "no_valid_device"),
        (["with space"], {}, "no_valid_device"),
        (["token"], {"title": None, "body": ""}, "empty_content"),
        (["token"], {"body": "x" * 5000}, "payload_too_large"),
    ],
)
def test_what_no_device_could_get_is_refused_for_good(tokens: list[str], content: dict[str, Any], reason: str) -> None:
    found = composed(tokens, **content)
    assert isinstance(found, Refused)
    assert found.reason == reason


def test_devices_of_other_platforms_are_not_pushed_to_and_alone_they_fail_the_push() -> None:
    some = composed(["phone"], others=("apns", "webpush"))
    assert isinstance(some, Push)
    assert some.tokens == ["phone"]

    none = composed([], others=("webpush", "apns", "apns"))
    assert isinstance(none, Refused)
    assert (none.reason, "apns, webpush" in none.error) == ("no_provider_for_platform", True)
    assert composed([]) == Refused("no_valid_device", "the user has no device that a push could reach")
