"""What is too late is not sent: it ends as expired, at once where no wait would end in time, and costs no attempt."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.contracts.messages import DeliveryReported
from carillon.contracts.quiet_hours import QuietHours
from carillon.contracts.statuses import RANK_EXPIRED, RANK_FAILED
from carillon.delivery.actions.deliver import deliver
from carillon.delivery.actions.tools import Work
from carillon.delivery.domain import ClaimFound, Expired, Failed, Policy, Retrying, Waiting, in_time, rung
from carillon.delivery.ports import ClaimWanted
from carillon.kit.broker.port import Done, Outcome, RetryAfter
from tests.unit.delivery.world import LADDER, START, FakeDeliveries, World


def until(seconds: float) -> dict[str, Any]:
    return {"expires_at": START + timedelta(seconds=seconds)}


async def one(world: World, work: Work) -> Outcome:
    (outcome,) = await deliver([work], world.tools)
    return outcome


def told(world: World) -> DeliveryReported:
    return world.reports.told[-1]


async def test_what_comes_too_late_ends_as_expired_with_no_attempt_and_is_no_dead_letter(world: World) -> None:
    work = world.work(**until(60))
    world.time = 60.0

    assert await one(world, work) == Done()

    report = told(world)
    assert (report.status, report.stage, report.rank, report.attempts) == ("expired", None, RANK_EXPIRED, 0)
    assert [(step.key, step.kind, step.attempt) for step in report.steps] == [("0.0.expired", "expired", None)]
    assert RANK_EXPIRED == RANK_FAILED
    assert (world.provider.sent, world.deliveries.claims) == ([], [])


async def test_what_comes_in_time_is_sent(world: World) -> None:
    work = world.work(**until(60))
    world.time = 59.9

    assert await one(world, work) == Done()
    assert told(world).status == "delivered"


@pytest.mark.parametrize("seen_before", [0, 1], ids=["a duplicate", "seen before"])
async def test_what_went_out_in_time_stays_delivered_whenever_it_comes_again(world: World, seen_before: int) -> None:
    work = world.work(**until(60))
    await one(world, work)
    world.time = 3600.0

    assert await one(world, replace(work, seen_before=seen_before)) == Done()
    assert [report.status for report in world.reports.told] == ["delivered", "delivered"]
    assert len(world.provider.sent) == 1


async def test_while_nobody_can_tell_whether_it_went_out_nothing_is_called_expired(world: World) -> None:
    work = world.work(**until(60))
    world.time, world.deliveries.away = 61.0, True

    assert isinstance(await one(world, work), RetryAfter)
    assert {report.status for report in world.reports.told} <= {"pending"}
    world.deliveries.away = False
    assert await one(world, work) == Done()
    assert told(world).status == "expired"


async def test_an_ending_that_could_not_be_told_is_told_the_next_time(world: World) -> None:
    work = world.work(**until(60))
    world.time, world.reports.away = 61.0, True
    assert isinstance(await one(world, work), RetryAfter)
    world.reports.away = False

    assert await one(world, replace(work, seen_before=1)) == Done()
    assert [report.status for report in world.reports.told] == ["expired"]


@pytest.mark.parametrize(("seconds", "ends"), [(4 * 3600, "expired"), (12 * 3600, "pending")])
async def test_quiet_hours_that_outlast_it_end_it(world: World, seconds: int, ends: str) -> None:
    user_id = world.person()
    quiet = QuietHours(f"{START - timedelta(hours=1):%H:%M}", f"{START + timedelta(hours=9):%H:%M}", "UTC")
    world.contacts.people[user_id] = msgspec.structs.replace(world.contacts.people[user_id], quiet_hours=quiet)

    outcome = await one(world, world.work(user_id, **until(seconds)))

    assert isinstance(outcome, Done if ends == "expired" else RetryAfter)
    assert (told(world).status, told(world).reason) == (ends, "quiet_hours")
    assert world.provider.sent == []


async def test_what_is_urgent_is_sent_in_quiet_hours_that_outlast_it(world: World) -> None:
    user_id = world.person()
    quiet = QuietHours(f"{START - timedelta(hours=1):%H:%M}", f"{START + timedelta(hours=9):%H:%M}", "UTC")
    contact = msgspec.structs.replace(world.contacts.people[user_id], quiet_hours=quiet, urgent=True)
    world.contacts.people[user_id] = contact

    assert await one(world, world.work(user_id, **until(60))) == Done()
    assert told(world).status == "delivered"


async def test_a_retry_that_would_come_too_late_comes_earlier(world: World) -> None:
    world.policy = Policy(max_attempts=9, base=400.0)
    world.provider.script = [Failed("busy", "451 later")]

    outcome = await one(world, world.work(**until(31)))

    assert isinstance(outcome, RetryAfter)
    assert outcome.delay == 30, "200 s were due, and 30 s are the longest rung that is in time"
    assert told(world).status == "pending"


async def test_a_retry_that_cannot_come_in_time_ends_it_with_what_the_attempt_met(world: World) -> None:
    world.provider.script = [Failed("busy", "451 later")]

    assert await one(world, world.work(**until(5))) == Done()

    report = told(world)
    assert (report.status, report.reason, report.error, report.attempts) == ("expired", "busy", "451 later", 1)
    assert (report.steps[-1].key, report.steps[-1].detail) == ("0.1.expired", {"error": "451 later"})


async def test_what_the_provider_asked_for_is_not_shortened(world: World) -> None:
    world.provider.script = [Failed("busy", "451 later", retry_after=40)]

    assert await one(world, world.work(**until(60))) == Done()
    assert told(world).status == "expired"


@pytest.mark.parametrize(("seconds", "ends"), [(5, "expired"), (100, "pending")])
async def test_a_wait_for_what_is_away_does_not_outlast_it(world: World, seconds: int, ends: str) -> None:
    world.contacts.away = True

    outcome = await one(world, world.work(**until(seconds)))

    assert (told(world).status, told(world).reason) == (ends, "users_away")
    assert isinstance(outcome, Done) or rung(outcome.delay, LADDER) < seconds  # type: ignore[union-attr]


async def test_what_expires_between_its_claim_and_its_turn_is_not_sent_and_gets_the_attempt_back(world: World) -> None:
    class Slow(FakeDeliveries):
        async def claim(self, wanted: Sequence[ClaimWanted]) -> Sequence[ClaimFound]:
            found = await super().claim(wanted)
            self.world.time = 11.0
            return found

    world.deliveries = Slow(world)
    work = world.work(**until(10))

    assert await one(world, work) == Done()
    assert (told(world).status, told(world).attempts) == ("expired", 0)
    row = world.deliveries.rows[work.request.notification_id, work.request.generation]
    assert (world.provider.sent, row.state, row.attempt) == ([], "released", 0)


async def test_the_age_of_what_was_scheduled_counts_from_its_time(world: World) -> None:
    world.time = 90_000.0
    later = START + timedelta(seconds=90_000 - 60)

    assert await one(world, world.work(send_at=later)) == Done()
    assert await one(world, world.work(send_at=START, accepted_at=later)) == Done(), "queued anew, it counts anew"
    assert [report.status for report in world.reports.told] == ["delivered", "delivered"]


waits = st.builds(Waiting, st.just("away"), st.floats(0, 400))
retries = st.builds(Retrying, st.just("busy"), st.just("e"), st.just(1), st.just("p"), st.floats(0, 400))


@given(waits | retries, st.floats(-10, 400), st.just(()) | st.just(LADDER), st.floats(0, 130))
def test_no_wait_goes_past_the_end(
    ending: Waiting | Retrying, seconds: float, ladder: tuple[float, ...], at_least: float
) -> None:
    end = START + timedelta(seconds=seconds)
    left = (end - START).total_seconds()

    found = in_time(ending, end, START, ladder, at_least=at_least)

    if isinstance(found, Expired):
        assert rung(ending.delay, ladder) >= left
        assert not [step for step in ladder if at_least <= step < left]
    else:
        assert rung(found.delay, ladder) < left
        assert found == ending or found.delay >= at_least
    assert in_time(ending, None, START, ladder) is ending
