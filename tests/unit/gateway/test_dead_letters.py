"""Dead letters, pure: whatever was in the queue can be kept, and a cause is a stable word."""

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.contracts.dead_letters import CAUSE, CAUSE_HEADER
from carillon.contracts.messages import DeliveryRequested
from carillon.contracts.statuses import RANK_FAILED
from carillon.gateway.dead_letters import (
    Candidate,
    Letter,
    Standing,
    bounded,
    cause_of,
    letter_of,
    may_revive,
    renewed,
    report_of,
    stays_dead,
)
from carillon.kit.broker.port import DEAD_AT_HEADER, PUBLISHED_AT_HEADER, REASON_HEADER, SOURCE_QUEUE_HEADER, Delivery
from carillon.kit.ids import uuid7
from tests.unit.delivery.world import World

NOW = datetime(2026, 5, 1, tzinfo=UTC)
NAMES = (REASON_HEADER, SOURCE_QUEUE_HEADER, DEAD_AT_HEADER, PUBLISHED_AT_HEADER, CAUSE_HEADER, "x-carillon-attempts")
KEY = uuid7()


def letter(body: bytes, headers: dict[str, str] | None = None) -> Letter:
    given = Delivery("failed.queue", body, headers or {}, KEY, redelivered=False, delivery_count=0)
    return letter_of(given, NOW)


def candidate(**given: object) -> Candidate:
    plain = {"id": KEY, "notification_id": KEY, "generation": 0, "user_id": KEY, "cause": "gone"}
    return msgspec.convert({**plain, "died_at": NOW, "reported": True, "has_body": True, **given}, Candidate)


def standing(**given: object) -> Standing:
    plain = {"notification_id": KEY, "status": "failed", "generation": 0, "user_id": KEY, "channel": "email"}
    return msgspec.convert({**plain, "template_code": "x", "category": None, "priority": 5, **given}, Standing)


@given(st.binary(max_size=300), st.dictionaries(st.sampled_from(NAMES), st.text(max_size=3000)))
def test_whatever_was_in_the_queue_can_be_kept(body: bytes, headers: dict[str, str]) -> None:
    kept = letter(body, headers)

    texts = (kept.queue, kept.cause, kept.reason, kept.first_error, kept.last_error, kept.provider)
    assert all(text is None or (len(text) <= 500 and text.isprintable()) for text in texts)
    assert re.fullmatch(CAUSE, kept.cause)
    assert kept.died_at <= NOW
    assert 0 <= kept.attempts < 2**31
    assert (kept.notification_id, report_of(kept), kept.body) == (None, None, None)


@given(st.text(max_size=600))
def test_a_cause_is_a_word_that_can_be_filtered_by(reason: str) -> None:
    assert re.fullmatch(CAUSE, cause_of(reason))


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("missing_variable: order: 7", "missing_variable"),
        ("UNREGISTERED", "unregistered"),
        ("delivery_limit", "delivery_limit"),
        ("no word at all", "other"),
        ("", "other"),
    ],
)
def test_reasons_of_a_kind_have_one_cause(reason: str, cause: str) -> None:
    assert cause_of(reason) == cause


def test_a_letter_is_known_by_its_message_and_what_it_says() -> None:
    once, again, other = letter(b"a"), letter(b"a"), letter(b"b")

    assert once.fingerprint == again.fingerprint != other.fingerprint
    assert once.id != again.id


def test_what_nobody_reported_is_told_as_any_report_and_no_higher() -> None:
    request = World().request(generation=3)
    report = report_of(letter(msgspec.json.encode(request), {REASON_HEADER: "delivery_limit"}))

    assert report is not None
    assert (report.generation, report.rank, report.status) == (3, RANK_FAILED, "failed")
    assert [(step.kind, step.reason) for step in report.steps] == [("failed", "delivery_limit")]


def test_a_message_that_is_sent_again_differs_in_its_generation_and_its_age_alone() -> None:
    request = World().request(variables={"big": 10**30, "name": "Ada"}, send_at=NOW - timedelta(days=2))
    body = {**msgspec.json.decode(msgspec.json.encode(request)), "invented_later": [1]}

    again = renewed(msgspec.json.encode(body), 4, NOW)

    assert b'"invented_later":[1]' in again
    assert msgspec.json.decode(again, type=DeliveryRequested) == msgspec.structs.replace(
        msgspec.json.decode(msgspec.json.encode(request), type=DeliveryRequested),
        generation=4,
        accepted_at=NOW,
        send_at=None,
    )


@pytest.mark.parametrize(
    ("dead", "there", "why"),
    [
        (candidate(), standing(), None),
        (candidate(), None, "no_notification"),
        (candidate(user_id=UUID(int=7)), standing(), "no_notification"),
        (candidate(), standing(status="delivered"), "delivered"),
        (candidate(), standing(status="pending", generation=1), "pending"),
        (candidate(), standing(generation=1), "superseded"),
        (candidate(), standing(expires_at=NOW), "expired"),
        (candidate(), standing(expires_at=NOW + timedelta(seconds=1)), None),
        (candidate(has_body=False), standing(), "erased"),
        (candidate(cause="outcome_unknown"), standing(), "outcome_unknown"),
    ],
)
def test_what_speaks_against_sending_again(dead: Candidate, there: Standing | None, why: str | None) -> None:
    assert stays_dead(dead, there, NOW) == why


@given(st.datetimes(timezones=st.sampled_from([UTC, None]), allow_imaginary=False))
def test_every_time_fits_into_a_column(moment: datetime) -> None:
    found = bounded(moment)

    assert found is not None
    assert found.tzinfo is not None
    assert found - timedelta(days=1) < found.astimezone(UTC) + timedelta(days=1)


@pytest.mark.parametrize(
    ("given", "rested", "revived"),
    [
        ({}, 60, True),
        ({}, 59, False),
        ({"generation": 1}, 120, True),
        ({"generation": 1}, 119, False),
        ({"generation": 2}, 86_400, False),
        ({"generation": None}, 86_400, False),
        ({"reported": True}, 86_400, False),
    ],
)
def test_only_what_nobody_answered_for_is_queued_anew_by_itself_twice_after_longer_rests(
    given: dict[str, object], rested: int, *, revived: bool
) -> None:
    letter = candidate(**{"cause": "delivery_limit", "reported": False, **given})
    assert may_revive(letter, NOW + timedelta(seconds=rested), 60.0) is revived
