"""The gateway's rules: what a request may hold, which bodies mean the same, which report stands."""

import itertools
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.contracts.messages import DeliveryReported, DeliveryRequested, Step
from carillon.contracts.notifications import Notification, NotificationRequested, StatusReported
from carillon.contracts.statuses import RANK_BOUNCED, RANK_BOUNCED_EARLY, RANK_CONFIRMED, RANK_DELIVERED, RANK_FAILED
from carillon.gateway.domain import (
    MOST_BYTES,
    Known,
    acceptance_of,
    checked_variables,
    key_from,
    months,
    newest,
    report_of,
    supersedes,
    timeline,
)
from carillon.kit.errors import Invalid
from carillon.kit.ids import born_at, uuid7
from tests.unit.gateway.reports import START, life, step

FINE: dict[str, Any] = {"name": "Ada", "link": "https://example.com/x"}
USER = uuid4()


def deep(levels: int) -> Any:
    value: Any = "bottom"
    for _ in range(levels):
        value = [value]
    return value


def asked(**fields: Any) -> NotificationRequested:
    return NotificationRequested(
        **{
            "notification_type": "email",
            "user_id": USER,
            "template_code": "welcome",
            "variables": FINE,
            "request_id": "r",
            **fields,
        }
    )


def body_hash(**fields: Any) -> bytes:
    return acceptance_of(asked(**fields), notification_id=uuid7(), caller_id=USER, correlation_id="c").body_hash


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": None}, "variables.name"),
        ({"name": 7}, "variables.name"),
        ({"link": None}, "variables.link"),
        ({"link": "ftp://example.com"}, "variables.link"),
        ({"link": "https://"}, "variables.link"),
        ({"link": "https://exa mple.com"}, "variables.link"),
        ({"link": "javascript:alert(1)"}, "variables.link"),
        ({"link": "https://[::1"}, "variables.link"),
        ({"meta": "text"}, "variables.meta"),
        ({"meta": []}, "variables.meta"),
        ({"any": "a\0b"}, "variables"),
        ({"any": {"deep": [{"er": "\0"}]}}, "variables"),
        ({"a\0b": 1}, "variables"),
        ({"any": deep(16)}, "variables"),
        ({"any": "x" * MOST_BYTES}, "variables"),
    ],
)
def test_variables_that_break_a_rule_are_refused_by_name(change: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        checked_variables({**FINE, **change})

    assert refused.value.details[0].field == field


def test_variables_left_out_are_told() -> None:
    for missing in FINE:
        with pytest.raises(Invalid):
            checked_variables({name: value for name, value in FINE.items() if name != missing})


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"meta": None},
        {"meta": {"a": deep(10)}},
        {"rows": [1, 2.5, True, None]},
        {"rows": [[n] for n in range(100)], "text": r"\u0000 {[{["},
    ],
)
def test_any_further_variables_are_taken_and_meta_is_filled_in(meta: dict[str, Any]) -> None:
    assert checked_variables({**FINE, **meta}) == {**FINE, "meta": None, **meta}


def test_metadata_is_held_to_the_same_rules() -> None:
    with pytest.raises(Invalid) as refused:
        body_hash(metadata={"a": ["\0"]})
    assert refused.value.details[0].field == "metadata"


def test_bodies_that_mean_the_same_have_the_same_hash() -> None:
    plain = body_hash()

    assert plain == body_hash(priority=5, metadata=None, category=None, request_id="other")
    assert plain == body_hash(variables={"meta": None, **dict(reversed(FINE.items()))})
    assert plain == body_hash(send_at=None, expires_at=None)


@pytest.mark.parametrize(
    "change",
    [
        {"notification_type": "push"},
        {"user_id": uuid4()},
        {"template_code": "other"},
        {"priority": 6},
        {"metadata": {}},
        {"category": "orders"},
        {"expires_at": datetime(2130, 1, 1, tzinfo=UTC)},
        {"send_at": datetime(2001, 1, 1, tzinfo=UTC)},
        {"variables": {**FINE, "name": "Bob"}},
        {"variables": {**FINE, "meta": {}}},
    ],
)
def test_bodies_that_differ_have_another_hash(change: dict[str, Any]) -> None:
    assert body_hash(**change) != body_hash()


@pytest.mark.parametrize(
    ("priority", "queue"),
    [(None, "email.queue"), (10, "email.high.queue"), (8, "email.high.queue"), (3, "email.bulk.queue")],
)
def test_the_message_is_routed_by_priority_and_says_what_was_asked(priority: int | None, queue: str) -> None:
    key = uuid7()
    accepted = acceptance_of(asked(priority=priority), notification_id=key, caller_id=USER, correlation_id="c")

    message = msgspec.json.decode(accepted.message, type=DeliveryRequested)

    assert accepted.queue == queue
    assert (message.notification_id, message.generation, message.correlation_id) == (key, 0, "c")
    assert message.accepted_at == born_at(key)
    assert message.variables == {**FINE, "meta": None}


KEYS = [UUID(int=n) for n in range(3)]


@given(st.lists(st.tuples(st.sampled_from(KEYS), st.integers(0, 4)), max_size=40), st.randoms(use_true_random=False))
def test_the_greatest_report_stands_in_any_order_and_however_often(
    picks: list[tuple[UUID, int]], chance: random.Random
) -> None:
    reports = [life(key)[number] for key, number in picks]
    mixed = [*reports, *chance.choices(reports, k=len(reports))] if reports else []
    chance.shuffle(mixed)

    assert newest(mixed) == newest(reports)
    for key, report in newest(reports).items():
        assert not any(supersedes(r, report.generation, report.rank) for r in reports if r.notification_id == key)


@given(st.permutations(range(5)), st.lists(st.integers(1, 4), max_size=3))
def test_batches_may_be_cut_anywhere(order: list[int], cuts: list[int]) -> None:
    one = [life(KEYS[0])[number] for number in order]
    whole = newest(one)
    standing: DeliveryReported | None = None
    edges = [0, *sorted(cuts), len(one)]
    for start, end in itertools.pairwise(edges):
        for report in newest(one[start:end]).values():
            if standing is None or supersedes(report, standing.generation, standing.rank):
                standing = report

    assert {KEYS[0]: standing} == whole


def known(rank: int = 0, *, generation: int = 0) -> Known:
    notification = Notification(
        notification_id=KEYS[0],
        request_id="r",
        notification_type="email",
        user_id=USER,
        template_code="welcome",
        priority=5,
        category=None,
        status="pending",
        stage="queued",
        attempts=2,
        reason=None,
        error=None,
        metadata=None,
        correlation_id="c",
        created_at=START,
        updated_at=START,
    )
    return Known(notification, generation, rank)


@pytest.mark.parametrize(
    ("said", "rank", "reported", "kind"),
    [
        ("delivered", 0, RANK_DELIVERED, "delivered"),
        ("delivered", RANK_BOUNCED_EARLY, RANK_CONFIRMED, "delivered"),
        ("failed", 11, RANK_BOUNCED_EARLY, "failed"),
        ("failed", RANK_FAILED, RANK_FAILED, "failed"),
        ("failed", RANK_BOUNCED_EARLY, RANK_BOUNCED_EARLY, "failed"),
        ("failed", RANK_CONFIRMED, RANK_BOUNCED, "bounced"),
        ("failed", RANK_DELIVERED, RANK_BOUNCED, "bounced"),
        ("failed", RANK_BOUNCED, RANK_BOUNCED, "bounced"),
        ("pending", 11, 0, "reported"),
    ],
)
def test_a_providers_word_weighs_by_what_is_known(said: Any, rank: int, reported: int, kind: str) -> None:
    report = report_of(StatusReported(notification_id="x", status=said), known(rank, generation=3), START)

    assert (report.rank, report.generation, report.steps[0].kind) == (reported, 3, kind)


def test_the_same_word_has_the_same_key_and_another_has_another() -> None:
    def key(**fields: Any) -> str:
        said = StatusReported(**{"notification_id": "x", "status": "failed", **fields})
        return report_of(said, known(), START + timedelta(seconds=len(fields))).steps[0].key

    assert key() == key()
    assert len({key(), key(error="gone"), key(timestamp=START), key(status="delivered")}) == 4


def test_a_timeline_begins_with_the_acceptance_and_orders_equal_times_by_their_place() -> None:
    skewed = START - timedelta(seconds=5)
    steps: list[Step] = [
        Step(key="4", kind="delivered", at=START, attempt=1),
        Step(key="3", kind="queued", at=START),
        Step(key="2", kind="looked_up", at=START),
        Step(key="1", kind="waiting", at=skewed),
        step("attempt_failed", attempt=1),
    ]

    kinds = [shown.kind for shown in timeline(known().notification, steps)]

    assert kinds == ["accepted", "waiting", "queued", "looked_up", "delivered", "attempt_failed"]


@given(st.datetimes(timezones=st.just(UTC), min_value=datetime(1990, 1, 1), max_value=datetime(2200, 1, 1)))  # noqa: DTZ001
def test_months_follow_each_other_without_a_gap_and_hold_their_own_keys(now: datetime) -> None:
    ahead = list(months(now, 14))

    assert all(one.end == other.first for one, other in itertools.pairwise(ahead))
    assert len({month.name for month in ahead}) == 15
    assert ahead[0].first <= uuid7(int(now.timestamp() * 1000)) < ahead[0].end


@given(st.datetimes())
def test_any_time_that_can_be_asked_for_is_a_bound(moment: datetime) -> None:
    assert isinstance(key_from(moment), UUID)
