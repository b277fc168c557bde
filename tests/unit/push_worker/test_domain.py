"""What FCM's answers mean: for one device, and for a user who has several."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.delivery.domain import Accepted, Failed, Refused
from carillon.push_worker.domain import DeviceAnswer, Gone, of_all, of_device
from carillon.simulators.domain.fcm import OTHER_PROJECT, UNAUTHENTICATED, Refusal, judge

OTHER_SIDE = Refusal(401, "UNAUTHENTICATED", "APNs does not take the project's key", "THIRD_PARTY_AUTH_ERROR")


def answered(refusal: Refusal) -> DeviceAnswer:
    return of_device(refusal.code, refusal.headers, json.dumps(refusal.body()).encode())


def by_token(token: str, **message: Any) -> DeviceAnswer:
    verdict = judge(json.dumps({"message": {"token": token, **message}}).encode())
    assert isinstance(verdict, Refusal)
    return answered(verdict)


def test_an_accepted_push_has_its_name() -> None:
    assert of_device(200, {}, b'{"name": "projects/p/messages/1"}') == Accepted("projects/p/messages/1")


def test_an_unregistered_token_is_gone_for_good() -> None:
    assert by_token("unregistered-1") == Gone("unregistered")


def test_a_malformed_token_is_gone_but_a_malformed_message_is_no_fault_of_the_device() -> None:
    assert by_token("no token") == Gone("invalid_token")
    refused = by_token("fine", notification={"title": 5})
    assert isinstance(refused, Refused)
    assert refused.reason == "message_refused"


def test_a_token_of_another_project_is_refused_but_not_called_gone() -> None:
    refused = by_token("mismatch-1")
    assert isinstance(refused, Refused)
    assert refused.reason == "sender_id_mismatch"


@pytest.mark.parametrize(
    ("answer", "reason", "down", "after"),
    [
        (by_token("quota-1"), "fcm_quota_exceeded", False, 1.0),
        (by_token("unavailable-1"), "fcm_unavailable", True, 1.0),
        (answered(UNAUTHENTICATED), "fcm_authentication_failed", True, None),
        (answered(OTHER_PROJECT), "fcm_authentication_failed", True, None),
        (answered(OTHER_SIDE), "fcm_third_party_authentication_failed", False, None),
        (of_device(404, {}, b"<html>not found</html>"), "fcm_project_not_found", True, None),
        (of_device(500, {"Retry-After": "soon"}, b""), "fcm_unavailable", True, None),
        (of_device(302, {}, b""), "fcm_unavailable", True, None),
    ],
)
def test_everything_else_may_help_later(answer: DeviceAnswer, reason: str, *, down: bool, after: float | None) -> None:
    assert isinstance(answer, Failed)
    assert (answer.reason, answer.down, answer.retry_after) == (reason, down, after)


def refusal(status: int, code: str = "", /, *, headers: dict[str, str] | None = None, **error: Any) -> DeviceAnswer:
    details = [{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}] if code else []
    body = {"error": {"code": status, "message": "no", "details": [*details, *error.pop("details", [])], **error}}
    return of_device(status, headers or {}, json.dumps(body).encode())


BAD_TOKEN = {"fieldViolations": [{"field": "message.token", "description": "Invalid registration token"}]}
BAD_FIELD = {"fieldViolations": [{"field": "message.data[0].value", "description": "Invalid value"}]}


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        (refusal(400, "INVALID_ARGUMENT"), (Refused, "message_refused")),
        (refusal(400, "INVALID_ARGUMENT", details=[BAD_TOKEN]), (Gone, "invalid_token")),
        (refusal(400, details=[BAD_FIELD]), (Refused, "message_refused")),
        (refusal(404, "UNREGISTERED"), (Gone, "unregistered")),
        (refusal(400, "UNREGISTERED"), (Gone, "unregistered")),
        (refusal(403, "SENDER_ID_MISMATCH"), (Refused, "sender_id_mismatch")),
        (refusal(401, "THIRD_PARTY_AUTH_ERROR"), (Failed, "fcm_third_party_authentication_failed", False)),
        (refusal(401, status="UNAUTHENTICATED"), (Failed, "fcm_authentication_failed", True)),
        (refusal(403, status="PERMISSION_DENIED"), (Failed, "fcm_authentication_failed", True)),
        (refusal(404, status="NOT_FOUND"), (Failed, "fcm_project_not_found", True)),
        (refusal(429, "QUOTA_EXCEEDED"), (Failed, "fcm_quota_exceeded", False)),
        (refusal(429, status="RESOURCE_EXHAUSTED"), (Failed, "fcm_quota_exceeded", False)),
        (refusal(500, "INTERNAL"), (Failed, "fcm_unavailable", True)),
        (refusal(502), (Failed, "fcm_unavailable", True)),
        (refusal(503, "UNAVAILABLE"), (Failed, "fcm_unavailable", True)),
        (refusal(500, "UNSPECIFIED_ERROR"), (Failed, "fcm_unavailable", True)),
        (refusal(500, "A_CODE_OF_TOMORROW"), (Failed, "fcm_unavailable", True)),
    ],
)
def test_every_code_of_fcm_says_whether_to_try_again_and_whom_to_blame(
    answer: DeviceAnswer, meaning: tuple[Any, ...]
) -> None:
    assert not isinstance(answer, Accepted)
    found = (type(answer), answer.reason, *([answer.down] if isinstance(answer, Failed) else []))
    assert found == meaning


NOON, LATER_ON = "Thu, 01 Jan 2026 12:00:00 GMT", "Thu, 01 Jan 2026 12:01:30 GMT"


@pytest.mark.parametrize(
    ("status", "headers", "after"),
    [
        (429, {}, 60.0),
        (429, {"Retry-After": "7"}, 7.0),
        (429, {"Retry-After": "0"}, 0.0),
        (503, {}, None),
        (503, {"Retry-After": "30"}, 30.0),
        (503, {"Retry-After": LATER_ON, "Date": NOON}, 90.0),
        (503, {"Retry-After": NOON, "Date": LATER_ON}, 0.0),
        (503, {"Retry-After": LATER_ON}, None),
        (503, {"Retry-After": "Thu, 01 Jan 2026 12:01:30", "Date": NOON}, None),
        (503, {"Retry-After": "-5"}, None),
        (503, {"Retry-After": "9" * 400}, None),
        (503, {"Retry-After": "Thu, 99 Foo 99999 99:99:99 GMT", "Date": NOON}, None),
    ],
)
def test_when_to_come_again_is_told_in_seconds_or_by_a_date(
    status: int, headers: dict[str, str], after: float | None
) -> None:
    answer = refusal(status, headers=headers)
    assert isinstance(answer, Failed)
    assert answer.retry_after == after


@given(
    st.integers(100, 599),
    st.binary() | st.recursive(st.none() | st.text(), st.lists).map(lambda v: json.dumps(v).encode()),
)
def test_no_answer_is_too_strange(status: int, body: bytes) -> None:
    assert isinstance(of_device(status, {}, body), Accepted | Refused | Failed | Gone)


@pytest.mark.parametrize(
    "error",
    [
        {"details": 5},
        {"details": ["x"]},
        {"details": [{"fieldViolations": [1]}]},
        {"details": [{"fieldViolations": 1}]},
        [],
        {"message": None},
    ],
)
def test_a_strange_error_of_a_bad_request_blames_no_device(error: Any) -> None:
    assert isinstance(of_device(400, {}, json.dumps({"error": error}).encode()), Refused)


TAKEN, GONE, NO, LATER = Accepted("1"), Gone("unregistered"), Refused("message_refused"), Failed("busy", down=True)


@pytest.mark.parametrize(
    ("answers", "whole"),
    [
        ([GONE, LATER, TAKEN, NO], TAKEN),
        ([GONE, LATER, NO], LATER),
        ([GONE, NO], NO),
        ([GONE, GONE], Refused("no_valid_device", "every device of the user is gone")),
    ],
)
def test_a_push_is_delivered_by_one_device_and_tried_again_while_one_still_may(
    answers: list[DeviceAnswer], whole: DeviceAnswer
) -> None:
    assert of_all(answers) == whole


def test_the_longest_wish_counts_and_the_provider_is_down_only_if_it_is_for_all() -> None:
    busy, down = Failed("quota", retry_after=30), Failed("away", retry_after=5, down=True, unknown=True)
    whole = of_all([busy, down])
    assert isinstance(whole, Failed)
    assert (whole.retry_after, whole.down, whole.unknown) == (30, False, True)
