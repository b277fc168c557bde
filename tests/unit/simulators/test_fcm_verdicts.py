"""The push simulator refuses what FCM refuses, in FCM's words, and takes the rest."""

import json
from typing import Any

import pytest

from carillon.simulators.domain.fcm import LARGEST_PAYLOAD, Refusal, Taken, judge

GOOD: dict[str, Any] = {
    "token": "device-1",
    "notification": {"title": "Hello", "body": "There is news", "image": "https://example.com/i.png"},
    "data": {"link": "https://example.com"},
    "android": {"collapse_key": "k", "priority": "HIGH", "ttl": "3.5s"},
    "apns": {"headers": {"apns-collapse-id": "k"}, "payload": {"aps": {"badge": 1}}},
    "webpush": {"headers": {"Urgency": "high"}, "fcm_options": {"link": "https://example.com"}},
}


def judged(message: Any, **around: Any) -> Taken | Refusal:
    return judge(json.dumps({"message": message, **around}).encode())


def test_a_good_message_is_taken_as_it_is() -> None:
    assert judged(GOOD) == Taken("device-1", GOOD, validate_only=False)
    assert judged(GOOD, validate_only=True) == Taken("device-1", GOOD, validate_only=True)
    assert judged({"topic": "news"}) == Taken(None, {"topic": "news"}, validate_only=False)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"token": None}, "message"),
        ({"topic": "news"}, "message"),
        ({"token": ""}, "message.token"),
        ({"token": "two words"}, "message.token"),
        ({"token": 5}, "message.token"),
        ({"colour": "red"}, "message"),
        ({"data": {"n": 5}}, "message.data"),
        ({"data": {"n": {"a": "b"}}}, "message.data"),
        ({"data": {"from": "x"}}, "message.data.from"),
        ({"data": {"google.x": "x"}}, "message.data.google.x"),
        ({"notification": {"subtitle": "x"}}, "message.notification"),
        ({"notification": {"title": "a\x00b"}}, "message.notification.title"),
        ({"android": {"priority": "urgent"}}, "message.android.priority"),
        ({"android": {"ttl": "3 days"}}, "message.android.ttl"),
        ({"webpush": {"fcm_options": {"link": "http://example.com"}}}, "message.webpush.fcm_options.link"),
        ({"data": {"text": "x" * LARGEST_PAYLOAD}}, "message"),
        ({"notification": {"body": "ü" * (LARGEST_PAYLOAD // 2)}}, "message"),
    ],
)
def test_a_malformed_message_is_an_invalid_argument_by_its_field(change: dict[str, Any], field: str) -> None:
    refusal = judged({name: value for name, value in {**GOOD, **change}.items() if value is not None})

    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.status, refusal.error_code) == (400, "INVALID_ARGUMENT", "INVALID_ARGUMENT")
    assert refusal.fields[0][0].startswith(field)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"\xff", b'{"message": 5}', b'{"other": {}}', b"[" * 100_000]
)
def test_what_is_no_message_at_all_is_an_invalid_argument(body: bytes) -> None:
    refusal = judge(body)

    assert isinstance(refusal, Refusal)
    assert refusal.code == 400


@pytest.mark.parametrize(
    ("token", "code", "status", "error_code", "retry_after"),
    [
        ("unregistered-1", 404, "NOT_FOUND", "UNREGISTERED", None),
        ("quota-1", 429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", "1"),
        ("unavailable-1", 503, "UNAVAILABLE", "UNAVAILABLE", "1"),
        ("mismatch-1", 403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH", None),
    ],
)
def test_tokens_with_a_meaning_are_refused_in_its_way(
    token: str, code: int, status: str, error_code: str, retry_after: str | None
) -> None:
    refusal = judged({**GOOD, "token": token})

    assert isinstance(refusal, Refusal)
    error = refusal.body()["error"]
    assert (refusal.code, error["code"], error["status"]) == (code, code, status)
    assert error["details"][0] == {
        "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError",
        "errorCode": error_code,
    }
    assert refusal.headers.get("Retry-After") == retry_after
