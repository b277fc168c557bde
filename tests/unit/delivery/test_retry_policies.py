"""A template says how hard it is tried; what it leaves open the worker decides, and what ended a message is told."""

from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from carillon.contracts.dead_letters import CAUSE_HEADER
from carillon.contracts.quiet_hours import QuietHours
from carillon.contracts.templates import Retry
from carillon.delivery.actions.deliver import deliver
from carillon.delivery.actions.tools import Work
from carillon.delivery.domain import Failed, Policy, Refused, bound_met, decide, policy_of
from carillon.kit.broker.port import DeadLetter, Done, Outcome, RetryAfter
from tests.unit.delivery.world import START, World

OWN = Policy(max_attempts=8, base=5.0, factor=2.0, cap=3_600.0, give_up=86_400.0)


@pytest.mark.parametrize(
    ("retry", "policy"),
    [
        (None, OWN),
        (Retry(), OWN),
        (Retry(attempts=1), replace(OWN, max_attempts=1)),
        (Retry(attempts=100), replace(OWN, max_attempts=100)),
        (Retry(base_seconds=0.5), replace(OWN, base=0.5)),
        (Retry(cap_seconds=10.0), replace(OWN, cap=10.0)),
        (Retry(give_up_after_seconds=60.0), replace(OWN, give_up=60.0)),
        (
            Retry(attempts=2, base_seconds=1.0, cap_seconds=9.0, give_up_after_seconds=7.0),
            Policy(2, 1.0, 2.0, 9.0, 7.0),
        ),
    ],
)
def test_a_template_changes_what_it_names_and_nothing_else(retry: Retry | None, policy: Policy) -> None:
    assert policy_of(OWN, retry) == policy


@pytest.mark.parametrize(
    ("answer", "attempt", "age", "decision", "bound"),
    [
        (Failed("busy"), 1, 0.0, RetryAfter(2.0, "busy"), None),
        (Failed("busy"), 2, 0.0, RetryAfter(4.0, "busy"), None),
        (Failed("busy"), 3, 0.0, RetryAfter(5.0, "busy"), None),
        (Failed("busy", retry_after=60.0), 1, 0.0, RetryAfter(10.0, "busy"), None),
        (Failed("busy"), 4, 0.0, DeadLetter("busy"), "all 4 attempts used"),
        (Failed("busy"), 4, 700.0, DeadLetter("busy"), "all 4 attempts used"),
        (Failed("busy"), 1, 599.0, DeadLetter("gave_up"), "given up after 600 s"),
        (Failed("busy"), 1, 598.0, RetryAfter(2.0, "busy"), None),
        (Refused("no"), 1, 0.0, DeadLetter("no"), None),
        (Refused("no"), 4, 700.0, DeadLetter("no"), None),
    ],
)
def test_each_bound_ends_it_and_says_so(
    answer: Failed | Refused, attempt: int, age: float, decision: Outcome, bound: str | None
) -> None:
    policy = policy_of(OWN, Retry(attempts=4, base_seconds=4.0, cap_seconds=10.0, give_up_after_seconds=600.0))

    assert decide(answer, attempt, policy, chance=0.5, age=age) == decision
    if isinstance(decision, DeadLetter):
        assert bound_met(answer, attempt, policy) == bound


async def one(world: World, work: Work) -> Outcome:
    (outcome,) = await deliver([work], world.tools)
    return outcome


@pytest.mark.parametrize("attempts", [2, 6])  # the worker's own are 4
async def test_a_version_s_attempts_count_across_redeliveries_and_its_dead_letter_names_them(
    world: World, attempts: int
) -> None:
    world.templates.publish(retry=Retry(attempts=attempts))
    world.provider.always = Failed("busy", "451 later")
    work = world.work()
    outcomes = [await one(world, work) for _ in range(attempts)]

    assert [type(outcome) for outcome in outcomes] == [RetryAfter] * (attempts - 1) + [DeadLetter]
    dead = outcomes[-1]
    assert isinstance(dead, DeadLetter)
    assert (dead.reason, dead.headers[CAUSE_HEADER]) == ("busy", f"busy: all {attempts} attempts used")
    report = world.reports.told[-1]
    assert (report.status, report.attempts) == ("failed", attempts)
    details = {step.kind: step.detail or {} for step in report.steps}
    assert details["rendered"]["retry"] == {"attempts": attempts}
    assert details["failed"]["bound"] == f"all {attempts} attempts used"


async def test_a_version_is_given_up_at_its_own_age_whether_it_was_tried_or_not(world: World) -> None:
    world.templates.publish(retry=Retry(give_up_after_seconds=600.0))
    fresh, late = world.work(), world.work()
    world.time = 599.0
    assert await one(world, fresh) == Done()
    world.time = 601.0

    dead = await one(world, late)
    assert dead == DeadLetter("gave_up")
    assert isinstance(dead, DeadLetter)
    assert dead.headers[CAUSE_HEADER] == "gave_up: given up after 600 s"
    assert len(world.provider.sent) == 1


async def test_a_version_may_be_tried_for_longer_than_the_worker_would(world: World) -> None:
    world.templates.publish(retry=Retry(give_up_after_seconds=2 * 86_400.0))
    work, too_late = world.work(), world.work()
    world.time = 86_400.0 * 1.5
    assert await one(world, work) == Done()
    world.time = 86_400.0 * 2.1

    assert await one(world, too_late) == DeadLetter("gave_up")
    assert len(world.provider.sent) == 1


async def test_whoever_opted_out_meanwhile_is_left_alone_and_nothing_is_given_up(world: World) -> None:
    world.templates.publish(retry=Retry(give_up_after_seconds=2 * 86_400.0))
    work = world.work(world.person(allowed=False))
    world.time = 86_400.0 * 1.5

    assert await one(world, work) == Done()
    assert world.reports.told[-1].status == "suppressed"


async def test_where_nobody_can_tell_what_the_version_says_the_worker_s_own_age_counts(world: World) -> None:
    world.templates.publish(retry=Retry(give_up_after_seconds=2 * 86_400.0))
    world.templates.away = True
    work = world.work()
    world.time = 86_000.0
    assert isinstance(await one(world, work), RetryAfter)
    world.time = 90_000.0

    assert await one(world, work) == DeadLetter("gave_up")


async def test_the_age_counts_from_the_time_it_was_scheduled_for(world: World) -> None:
    world.templates.publish(retry=Retry(give_up_after_seconds=600.0))
    send_at = START + timedelta(seconds=3_600)
    world.time = 3_600 + 599.0
    assert await one(world, world.work(send_at=send_at)) == Done()
    world.time = 3_600 + 601.0

    assert await one(world, world.work(send_at=send_at)) == DeadLetter("gave_up")


async def test_quiet_hours_are_no_age_for_a_version_s_own_bound_either(world: World) -> None:
    world.templates.publish(retry=Retry(give_up_after_seconds=600.0))
    user_id = world.person()
    quiet = QuietHours(f"{START - timedelta(hours=1):%H:%M}", f"{START + timedelta(hours=2):%H:%M}", "UTC")
    world.contacts.people[user_id] = msgspec.structs.replace(world.contacts.people[user_id], quiet_hours=quiet)
    work = world.work(user_id)
    assert isinstance(await one(world, work), RetryAfter)
    world.time = 2 * 3_600 + 300.0

    assert await one(world, work) == Done()
    assert len(world.provider.sent) == 1


async def test_what_has_expired_is_expired_and_not_given_up(world: World) -> None:
    world.templates.publish(retry=Retry(give_up_after_seconds=60.0))
    work = world.work(expires_at=START + timedelta(seconds=120))
    world.time = 121.0

    assert await one(world, work) == Done()
    assert world.reports.told[-1].status == "expired"
