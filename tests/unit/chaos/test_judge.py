"""The judge finds each kind of wrong in histories that were made by hand."""

from dataclasses import replace

import pytest

from tests.chaos.judge import Answer, Harm, Kind, Receipt, Told, Verdict, judge

KILL = Harm("kill email_worker_1 at 10.0 s", 110.0, 112.0, bound=2)
QUIET = Harm("kill gateway_1 at 10.0 s", 110.0, 112.0, bound=0)


def told(
    kind: Kind = "good",
    *,
    number: int = 1,
    send_at: float | None = None,
    expires_at: float | None = None,
    cancelling: Answer | None = None,
) -> Told:
    return Told(f"r{number}", kind, f"n{number}", send_at, expires_at, cancelling)


def one(each: Told, status: str | None, *received: float, harms: tuple[Harm, ...] = ()) -> Verdict:
    """The verdict on a history of one notification."""
    name = each.notification_id or ""
    return judge([each], [Receipt(name, at) for at in received], {name: status} if status else {}, harms)


@pytest.mark.parametrize(
    ("each", "status", "received"),
    [
        (told(), "delivered", [100.0]),
        (told("deferred"), "delivered", [100.0]),
        (told("refused"), "failed", []),
        (told("opted_out"), "suppressed", []),
        (told("cancelled", cancelling="cancelled"), "cancelled", []),
        (told("cancelled", cancelling="already_queued"), "delivered", [100.0]),
        (told("cancelled"), "cancelled", []),
        (told("cancelled"), "delivered", [100.0]),
        (told("scheduled", send_at=99.0), "delivered", [100.0]),
        (told("expiring", expires_at=101.0), "delivered", [100.0]),
        (told("expiring", expires_at=99.0), "expired", []),
        (told("at_most_once"), "delivered", [100.0]),
        (told("at_most_once"), "failed", []),
    ],
)
def test_what_happened_as_it_should_passes(each: Told, status: str, received: list[float]) -> None:
    assert one(each, status, *received).passed


def test_what_the_api_has_forgotten_is_lost() -> None:
    assert one(told(), None).lost


def test_what_is_said_to_be_delivered_and_was_never_received_is_lost() -> None:
    assert one(told(), "delivered").lost


def test_what_has_not_ended_is_stuck() -> None:
    assert one(told(), "pending", 100.0).stuck


def test_a_request_that_was_never_answered_fails_the_run() -> None:
    verdict = judge([Told("r1", "good", None)], [], {}, [])
    assert verdict.unanswered
    assert not verdict.passed


@pytest.mark.parametrize(
    ("each", "status", "received"),
    [
        (told(), "failed", []),
        (told(), "suppressed", []),
        (told("refused"), "delivered", [100.0]),
        (told("opted_out"), "delivered", [100.0]),
        (told("opted_out"), "suppressed", [100.0]),
        (told("cancelled", cancelling="cancelled"), "delivered", [100.0]),
        (told("cancelled", cancelling="cancelled"), "cancelled", [100.0]),
        (told("cancelled", cancelling="already_queued"), "cancelled", []),
        (told("scheduled", send_at=101.0), "delivered", [100.0]),
        (told("expiring", expires_at=90.0), "delivered", [100.0]),
        (told("expiring", expires_at=101.0), "expired", [100.0]),
        (told("at_most_once"), "failed", [100.0]),
        (told("at_most_once"), "delivered", [100.0, 111.0]),
    ],
)
def test_a_wrong_ending_is_found(each: Told, status: str, received: list[float]) -> None:
    verdict = one(each, status, *received)
    assert verdict.wrong
    assert not verdict.passed


def test_an_outcome_that_a_kill_left_unknown_may_end_a_mail_that_goes_out_once_at_most() -> None:
    verdict = one(told("at_most_once"), "failed", 110.5, harms=(KILL,))
    assert verdict.passed
    assert verdict.unknown == 1


def test_a_mail_of_which_nobody_was_told_is_found() -> None:
    assert judge([], [Receipt("n9", 100.0)], {}, []).wrong


def test_a_duplicate_that_no_fault_explains_is_found() -> None:
    assert one(told(), "delivered", 100.0, 120.0, harms=(KILL,)).unexplained


def test_a_fault_that_can_double_nothing_explains_nothing() -> None:
    assert one(told(), "delivered", 110.5, 120.0, harms=(QUIET,)).unexplained


def test_a_duplicate_is_told_with_the_kill_that_caused_it() -> None:
    verdict = one(told(), "delivered", 109.0, 120.0, harms=(QUIET, KILL))
    assert verdict.passed
    assert verdict.explained == {KILL.name: 1}


def test_a_kill_explains_no_more_than_was_in_flight() -> None:
    several = [told(number=number) for number in range(3)]
    receipts = [Receipt(f"n{number}", at) for number in range(3) for at in (110.0, 120.0 + number)]
    verdict = judge(several, receipts, {f"n{number}": "delivered" for number in range(3)}, [KILL])
    assert verdict.explained == {KILL.name: 2}
    assert len(verdict.unexplained) == 1


def test_too_few_deliveries_fail_the_run() -> None:
    several = [told(number=number) for number in range(100)]
    receipts = [Receipt(f"n{number}", 100.0) for number in range(99)]
    verdict = judge(several, receipts, {f"n{number}": "delivered" for number in range(99)} | {"n99": "failed"}, [])
    assert verdict.share == 0.99
    assert not verdict.passed


def test_a_fault_of_one_channel_explains_no_duplicate_of_another() -> None:
    of_pushes = Harm("kill push_worker_1 at 10.0 s", 110.0, 112.0, bound=2, channels=("push",))
    assert one(told(), "delivered", 110.0, 120.0, harms=(of_pushes,)).unexplained
    assert one(replace(told(), channel="push"), "delivered", 110.0, 120.0, harms=(of_pushes,)).passed


@pytest.mark.parametrize("each", [told("scheduled", send_at=150.0), told("expiring", expires_at=90.0)])
def test_only_a_wrong_clock_explains_what_goes_out_before_or_after_its_time(each: Told) -> None:
    assert one(each, "delivered", 110.0, harms=(KILL,)).wrong
    assert one(each, "delivered", 110.0, harms=(replace(QUIET, clock=True),)).passed
    assert one(each, "delivered", 130.0, harms=(replace(QUIET, clock=True),)).wrong
