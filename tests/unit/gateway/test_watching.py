"""What becomes of a notification of which nothing is heard: pure decisions, by one clock."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from carillon.contracts.channels import FAILED_QUEUE, STATUS_QUEUE
from carillon.gateway.watching import (
    Bounds,
    Ended,
    GivenUp,
    QueuedAnew,
    Wait,
    WaitsOn,
    Watched,
    judge,
    passing,
    waits_of,
)
from carillon.kit.broker.port import QueueDepth
from carillon.kit.ids import uuid7
from tests.unit.gateway.reports import START, delivered, retried

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
BOUNDS = Bounds(overdue=600.0, give_up=86_400.0)
PASSED = dict.fromkeys(("email.queue", STATUS_QUEUE, FAILED_QUEUE), NOW)
KEY = UUID("01a1d1a0-0000-7000-8000-000000000001")


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def watched(**given: Any) -> Watched:
    lost: dict[str, Any] = {
        "notification_id": KEY,
        "status": "pending",
        "channel": "email",
        "priority": 5,
        "generation": 0,
        "created_at": ago(3600),
        "send_at": None,
        "expires_at": None,
        "next_expected_at": None,
        "outbox_at": None,
        "quiet_since": ago(601),
        "requeued": 0,
        "has_message": True,
    }
    return Watched(**{**lost, **given})


def verdict(**given: Any) -> object:
    return judge(watched(**given), NOW, PASSED, BOUNDS)


def test_what_has_been_silent_past_its_bound_is_queued_anew() -> None:
    assert verdict() == QueuedAnew(NOW + timedelta(seconds=600), ago(601))


@pytest.mark.parametrize("status", ["delivered", "failed", "suppressed", "cancelled", "expired", None])
def test_what_has_ended_or_is_not_there_any_more_is_watched_no_longer(status: Any) -> None:
    assert verdict(status=status) == Ended()


@pytest.mark.parametrize("due", [ago(7200), NOW + timedelta(days=30)])
def test_what_lies_in_the_outbox_is_nobodys_hole_however_old_it_is(due: datetime) -> None:
    assert verdict(outbox_at=due) == WaitsOn(max(NOW, due) + timedelta(seconds=600), None)


def test_what_has_left_the_outbox_since_the_last_look_has_all_its_time_before_it() -> None:
    assert verdict(quiet_since=None) == WaitsOn(NOW + timedelta(seconds=600), NOW)


@pytest.mark.parametrize("seconds", [-3600, -1, 0, 599])
def test_news_that_is_announced_for_later_is_waited_for(seconds: float) -> None:
    expected = ago(seconds)

    assert verdict(next_expected_at=expected) == WaitsOn(expected + timedelta(seconds=600), ago(601))


def test_news_that_was_announced_and_did_not_come_is_missed_after_the_same_patience() -> None:
    assert verdict(next_expected_at=ago(600)) == QueuedAnew(NOW + timedelta(seconds=600), ago(600))


@pytest.mark.parametrize("queue", ["email.queue", STATUS_QUEUE, FAILED_QUEUE])
@pytest.mark.parametrize("left", [None, 601, 302])
def test_nothing_is_done_while_its_lane_or_what_is_told_of_it_lags_behind(queue: str, left: float | None) -> None:
    passed = {name: at for name, at in PASSED.items() if name != queue}
    if left is not None:
        passed[queue] = ago(left)

    assert judge(watched(), NOW, passed, BOUNDS) == WaitsOn(NOW + timedelta(seconds=600), ago(601))
    assert isinstance(judge(watched(), NOW, {**passed, queue: ago(300)}, BOUNDS), QueuedAnew)


def test_each_time_it_is_waited_for_twice_as_long_up_to_the_age_at_which_it_is_given_up() -> None:
    for times, patience in ((1, 1200), (2, 2400), (7, 76_800), (8, 86_400), (1_000, 86_400)):
        young = {"requeued": times, "created_at": NOW, "send_at": None}
        assert isinstance(verdict(quiet_since=ago(patience - 1), **young), WaitsOn)
        assert verdict(quiet_since=ago(patience), **young) == QueuedAnew(
            NOW + timedelta(seconds=patience), ago(patience)
        )


def test_only_past_its_expiry_or_the_age_of_giving_up_silence_is_an_end() -> None:
    assert verdict(expires_at=NOW) == GivenUp("expired", ago(601))
    assert isinstance(verdict(expires_at=NOW + timedelta(seconds=1)), QueuedAnew)
    assert verdict(created_at=ago(86_400)) == GivenUp("failed", ago(601))
    assert isinstance(verdict(created_at=ago(86_399)), QueuedAnew)
    assert isinstance(verdict(created_at=ago(864_000), send_at=ago(3600)), QueuedAnew), "its age counts from then"


def test_what_cannot_be_sent_again_waits_for_its_end() -> None:
    assert verdict(has_message=False) == WaitsOn(NOW + timedelta(seconds=600), ago(601))
    assert verdict(has_message=False, created_at=ago(86_400)) == GivenUp("failed", ago(601))


def test_a_queue_has_passed_on_what_came_before_its_oldest_and_an_empty_one_everything() -> None:
    depths = {
        "email.queue": QueueDepth(0, 3, None, None),
        "email.high.queue": QueueDepth(7, 0, 0, 90.0),
        "push.queue": QueueDepth(7, 0, None, None),
        "push.bulk.queue": QueueDepth(7, 0, None, None),
        "push.high.queue": QueueDepth(7, 0, None, None),
        FAILED_QUEUE: QueueDepth(7, 0, None, None),
    }
    before = {"push.queue": ago(400), STATUS_QUEUE: ago(20), FAILED_QUEUE: ago(50)}
    arrived = {"push.high.queue": ago(60), FAILED_QUEUE: ago(70), "email.high.queue": ago(1), "email.queue": ago(80)}

    known = passing(before, depths, NOW, arrived)

    assert known == {
        "email.queue": NOW,
        "email.high.queue": ago(90),
        "push.queue": ago(400),  # its broker knows no ages: when it was last seen empty stands
        "push.high.queue": ago(60),  # nor of this one: what has arrived of it tells
        STATUS_QUEUE: ago(20),
        FAILED_QUEUE: ago(50),  # later than what has arrived of it
    }


def test_how_long_a_worker_will_be_silent_is_told_by_its_own_clock_whatever_that_shows() -> None:
    once, twice = uuid7(), uuid7()
    wrong = msgspec.structs.replace(retried(once, 1), next_expected_at=START - timedelta(days=1))

    waits = waits_of([retried(twice, 2), retried(twice, 1), delivered(uuid7()), wrong])

    assert [msgspec.structs.replace(wait, seconds=round(wait.seconds)) for wait in waits] == [
        Wait(twice, 0, 118),
        Wait(once, 0, 0),
    ]
