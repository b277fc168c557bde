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
