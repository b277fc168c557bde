"""Quiet hours hold a message up and never drop it: no attempt, no lost life, one line in the timeline."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.contracts.messages import DeliveryReported
from carillon.contracts.quiet_hours import QuietHours
from carillon.contracts.users import Decision
from carillon.delivery.actions.deliver import deliver
from carillon.delivery.actions.tools import Work
from carillon.delivery.domain import LONGEST_DEFERRAL, Failed, Policy, deferred, pause
from carillon.kit.broker.port import DeadLetter, Done, Outcome, RetryAfter
from tests.unit.delivery.world import START, World

ONE_HOUR = 3600.0
LADDER = (5.0, 30.0, 120.0, 600.0, ONE_HOUR)


def around(moment: datetime, *, hours: float = 9) -> QuietHours:
    """Quiet since an hour before the moment, for so many hours after it."""
    return QuietHours(f"{moment - timedelta(hours=1):%H:%M}", f"{moment + timedelta(hours=hours):%H:%M}", "UTC")


def quiet_person(world: World, *, hours: float = 9, urgent: bool = False, allowed: bool = True) -> UUID:
    user_id = world.person(allowed=allowed)
    contact = world.contacts.people[user_id]
    quiet = around(START, hours=hours)
    world.contacts.people[user_id] = msgspec.structs.replace(contact, quiet_hours=quiet, urgent=urgent)
    return user_id


@pytest.fixture
def night(world: World) -> World:
    world.limits = replace(world.limits, ladder=LADDER)
    return world


async def one(world: World, work: Work) -> Outcome:
    (outcome,) = await deliver([work], world.tools)
    return outcome


async def until_ended(world: World, work: Work) -> list[RetryAfter]:
    """Hand the message out again as a broker would: after the delay, with the reason in its headers."""
    waits: list[RetryAfter] = []
    while isinstance(outcome := await one(world, work), RetryAfter):
        waits.append(outcome)
        world.time += outcome.delay
        work = replace(work, seen_before=work.seen_before + 1, last_reason=outcome.reason)
    assert outcome == Done()
    return waits


def told(world: World, status: str) -> list[DeliveryReported]:
    return [report for report in world.reports.told if report.status == status]


async def test_a_message_waits_for_the_end_of_the_quiet_hours_is_told_once_and_then_sent(night: World) -> None:
    end = START.replace(second=0, microsecond=0) + timedelta(hours=9)

    waits = await until_ended(night, night.work(quiet_person(night)))

    assert end <= night.now() <= end + timedelta(seconds=5)
    assert max(wait.delay for wait in waits) == ONE_HOUR
    assert len(night.provider.sent) == 1
    (waiting,), (delivered,) = told(night, "pending"), told(night, "delivered")
    assert (waiting.stage, waiting.reason, waiting.attempts) == ("scheduled", "quiet_hours", 0)
    assert [(step.kind, step.reason, step.detail) for step in waiting.steps] == [
        ("waiting", "quiet_hours", {"until": end.isoformat()})
    ]
    assert waiting.next_expected_at is not None
    assert waiting.next_expected_at >= end + timedelta(seconds=5)
    assert delivered.attempts == 1


@pytest.mark.parametrize("how", ["urgent", "awake"])
async def test_what_is_urgent_or_meets_nobody_asleep_is_sent_at_once(night: World, how: str) -> None:
    user_id = quiet_person(night, urgent=how == "urgent")
    if how == "awake":
        night.time = 10 * ONE_HOUR

    assert await one(night, night.work(user_id)) == Done()
    assert len(night.provider.sent) == 1


async def test_whoever_refused_is_not_kept_waiting(night: World) -> None:
    assert await one(night, night.work(quiet_person(night, allowed=False))) == Done()
    assert [report.status for report in night.reports.told] == ["suppressed"]


async def test_an_opt_out_during_the_wait_is_honoured(night: World) -> None:
    work = night.work(quiet_person(night))
    assert isinstance(await one(night, work), RetryAfter)
    refusal = Decision(allowed=False, layer="channel_opt_out", reason="wants no e-mail")
    contact = night.contacts.people[work.request.user_id]
    night.contacts.people[work.request.user_id] = msgspec.structs.replace(contact, decision=refusal)

    assert await one(night, work) == Done()
    assert night.provider.sent == []


async def test_a_wait_longer_than_the_patience_costs_no_message_its_life(night: World) -> None:
    night.policy = Policy(max_attempts=2, give_up=2 * ONE_HOUR)
    night.provider.script = [Failed("busy")]

    await until_ended(night, night.work(quiet_person(night)))

    assert [report.attempts for report in night.reports.told] == [0, 1, 2]
    assert told(night, "delivered")


async def test_time_that_was_not_quiet_still_ends_it(night: World) -> None:
    night.policy = Policy(give_up=2 * ONE_HOUR)
    night.time = 12 * ONE_HOUR

    outcome = await one(night, night.work(quiet_person(night)))

    assert outcome == DeadLetter("gave_up"), "nine hours were quiet and three were not"


async def test_too_old_is_too_old_where_nobody_can_tell_of_quiet_hours(night: World) -> None:
    night.time = 25 * ONE_HOUR
    night.contacts.away = True

    assert await one(night, night.work(quiet_person(night))) == DeadLetter("gave_up")


async def test_what_went_out_before_is_told_at_once_and_not_in_the_morning(night: World) -> None:
    user_id = quiet_person(night, urgent=True)
    work = night.work(user_id)
    await one(night, work)
    contact = night.contacts.people[user_id]
    night.contacts.people[user_id] = msgspec.structs.replace(contact, urgent=False)

    assert await one(night, replace(work, seen_before=1)) == Done()
    assert len(told(night, "delivered")) == 2
    assert len(night.provider.sent) == 1


async def test_a_wait_that_could_not_be_told_is_told_the_next_time(night: World) -> None:
    work = night.work(quiet_person(night))
    night.reports.away = True
    outcome = await one(night, work)
    assert isinstance(outcome, RetryAfter)
    night.reports.away = False

    await one(night, replace(work, seen_before=1, last_reason=outcome.reason))

    assert [report.reason for report in night.reports.told] == ["quiet_hours"]


async def test_other_quiet_hours_are_another_wait(night: World) -> None:
    work = night.work(quiet_person(night))
    first = await one(night, work)
    assert isinstance(first, RetryAfter)
    night.contacts.people[work.request.user_id] = night.contacts.people[quiet_person(night, hours=3)]

    await one(night, replace(work, seen_before=1, last_reason=first.reason))

    steps = [report.steps[0] for report in night.reports.told]
    assert len({step.key for step in steps}) == len(steps) == 2


@given(st.floats(0, 90_000), st.just(()) | st.just(LADDER) | st.just((0.1, 0.2, 0.5)))
def test_a_rest_never_goes_past_its_end_but_for_the_lowest_rung(seconds: float, ladder: tuple[float, ...]) -> None:
    rest = pause(seconds, ladder)

    assert rest in ladder or not ladder
    assert rest <= max(seconds, min(ladder, default=seconds))


@given(st.integers(0, 40 * 86_400))
def test_what_is_excused_is_never_more_than_the_age_nor_than_a_week(age: int) -> None:
    world = World()
    contact = world.contacts.people[quiet_person(world)]
    now = datetime(2030, 3, 31, 12, 34, tzinfo=UTC)

    excused = deferred(contact, now - timedelta(seconds=age), now)

    assert 0 <= excused <= min(age, LONGEST_DEFERRAL)
