"""Never lost, rarely twice: what happens when messages come twice, workers freeze, or the store or broker is away."""

import asyncio
from dataclasses import replace

import pytest

from carillon.delivery.actions.deliver import deliver
from carillon.delivery.actions.tools import Work
from carillon.delivery.domain import Accepted, Failed, ProviderAnswer
from carillon.kit.broker.port import DeadLetter, Done, Outcome, RetryAfter
from tests.support.waiting import eventually
from tests.unit.delivery.world import Row, World


async def one(world: World, work: Work) -> Outcome:
    (outcome,) = await deliver([work], world.tools)
    return outcome


def row_of(world: World, work: Work) -> Row:
    return world.deliveries.rows[work.request.notification_id, work.request.generation]


async def test_what_was_sent_is_told_again_and_not_sent_again(world: World) -> None:
    work = world.work()
    await one(world, work)
    world.time = 500.0
    assert await one(world, work) == Done()

    first, second = world.reports.told
    assert len(world.provider.sent) == 1
    assert second.status == "delivered"
    assert {step.key for step in second.steps} <= {step.key for step in first.steps}
    assert second.steps[-1].at == first.steps[-1].at


async def test_a_report_that_cannot_be_published_keeps_the_message_and_the_mail_goes_out_once(world: World) -> None:
    work = world.work()
    world.reports.away = True
    assert isinstance(await one(world, work), RetryAfter)

    world.reports.away = False
    assert await one(world, work) == Done()
    assert [report.status for report in world.reports.told] == ["delivered"]
    assert len(world.provider.sent) == 1


@pytest.mark.parametrize("change", ["opted out", "erased", "too old"])
async def test_what_went_out_is_told_as_delivered_whatever_would_be_decided_by_now(world: World, change: str) -> None:
    work = world.work()
    world.reports.away = True
    await one(world, work)
    world.reports.away = False

    user_id = work.request.user_id
    if change == "opted out":
        world.contacts.people[user_id] = world.contacts.people[world.person(allowed=False)]
    elif change == "erased":
        del world.contacts.people[user_id]
    else:
        world.time = 90_000.0
    again = replace(work, seen_before=1)
    world.deliveries.away = True
    assert isinstance(await one(world, again), RetryAfter)
    world.deliveries.away = False
    assert await one(world, again) == Done()

    assert [report.status for report in world.reports.told] == ["pending", "delivered"]
    assert len(world.provider.sent) == 1


async def test_a_message_that_another_worker_holds_waits_for_its_lease_and_counts_nothing(world: World) -> None:
    work = world.work()
    world.deliveries.rows[work.request.notification_id, 0] = Row(lease_until=45.0)

    assert await one(world, work) == RetryAfter(45.0, "held_elsewhere")
    assert (world.provider.sent, world.reports.told) == ([], [])
    assert row_of(world, work).attempt == 1


async def test_a_lapsed_claim_is_sent_again_since_its_outcome_is_unknown(world: World) -> None:
    work = world.work()
    world.deliveries.rows[work.request.notification_id, 0] = Row(lease_until=-1.0)

    assert await one(world, work) == Done()
    assert (row_of(world, work).attempt, row_of(world, work).lapses) == (2, 1)


async def test_a_lapsed_claim_of_a_message_that_may_go_out_once_has_failed(world: World) -> None:
    world.templates.publish("code", at_most_once=True)
    work = world.work(template_code="code")
    world.deliveries.rows[work.request.notification_id, 0] = Row(lease_until=-1.0)

    assert await one(world, work) == DeadLetter("outcome_unknown")
    assert world.provider.sent == []


@pytest.mark.parametrize(("unknown", "outcome"), [(True, DeadLetter), (False, RetryAfter)])
async def test_at_most_once_is_tried_again_only_where_nothing_can_have_been_taken(
    world: World, *, unknown: bool, outcome: type[Outcome]
) -> None:
    world.templates.publish("code", at_most_once=True)
    world.provider.script = [Failed("smtp_connection_failed", unknown=unknown)]

    assert isinstance(await one(world, world.work(template_code="code")), outcome)


async def test_a_worker_that_froze_between_claim_and_send_does_not_send(world: World) -> None:
    world.slots = 1
    release = asyncio.Event()

    async def slowly() -> ProviderAnswer:
        await release.wait()
        return Accepted()

    world.provider.script = [slowly]
    works = [world.work(), world.work()]
    running = asyncio.create_task(deliver(works, world.tools))
    await eventually(lambda: world.provider.sent)
    world.time = 25.0
    release.set()

    first, second = await running
    assert first == Done()
    assert isinstance(second, RetryAfter)
    assert second.reason == "no_free_connection"
    assert len(world.provider.sent) == 1
    assert (row_of(world, works[1]).state, row_of(world, works[1]).attempt) == ("released", 0)


async def test_a_worker_that_froze_in_the_send_does_not_overwrite_the_next_ones_outcome(world: World) -> None:
    work = world.work()

    async def while_another_takes_over() -> ProviderAnswer:
        world.time = 100.0
        await deliver([work], world.tools)
        return Failed("smtp_timeout")

    world.provider.script = [while_another_takes_over]
    outcome = await one(world, work)

    assert isinstance(outcome, RetryAfter)
    assert row_of(world, work).state == "sent"
    assert [report.status for report in world.reports.told] == ["delivered"]


async def test_a_provider_that_dawdles_past_the_deadline_has_failed_with_unknown_outcome(world: World) -> None:
    world.limits = replace(world.limits, send=0.05)
    world.templates.publish("code", at_most_once=True)
    world.provider.script = [asyncio.Event().wait, asyncio.Event().wait]

    outcome = await one(world, world.work())
    assert isinstance(outcome, RetryAfter)
    assert outcome.reason == "provider_timeout"
    assert await one(world, world.work(template_code="code")) == DeadLetter("outcome_unknown")


async def test_while_the_store_is_away_nothing_is_sent(world: World) -> None:
    world.deliveries.away = True
    outcome = await one(world, world.work())

    assert isinstance(outcome, RetryAfter)
    assert outcome.reason == "claims_away"
    assert world.provider.sent == []


async def test_a_store_that_is_away_for_a_moment_after_the_send_still_gets_the_outcome(world: World) -> None:
    work = world.work()
    world.deliveries.settles_refused = 2

    assert await one(world, work) == Done()
    assert row_of(world, work).state == "sent"
    assert len(world.provider.sent) == 1


async def test_an_open_breaker_lets_messages_wait_unclaimed_and_then_one_tries(world: World) -> None:
    world.provider.always = Failed("smtp_connection_failed", down=True)
    for _ in range(3):
        await one(world, world.work())
    claims = len(world.deliveries.claims)

    waiting = world.work()
    outcome = await one(world, waiting)
    assert outcome == RetryAfter(10.0, "provider_away")
    assert len(world.deliveries.claims) == claims
    assert world.reports.told[-1].steps[-1].kind == "waiting"

    world.time, world.provider.always = 10.0, None
    outcomes = await deliver([waiting, world.work()], world.tools)
    assert outcomes[0] == Done()
    assert isinstance(outcomes[1], RetryAfter)
    assert await one(world, world.work()) == Done()


async def test_a_probe_whose_claim_was_not_granted_leaves_the_breaker_to_the_next(world: World) -> None:
    sent_before = world.work()
    await one(world, sent_before)
    world.provider.script = [Failed("smtp_connection_failed", down=True)] * 3
    for _ in range(3):
        await one(world, world.work())
    world.time = 10.0

    assert await one(world, sent_before) == Done()
    assert await one(world, world.work()) == Done()


async def test_a_probe_that_found_no_slot_leaves_the_breaker_to_the_next(world: World) -> None:
    world.slots, world.limits = 1, replace(world.limits, send=0.3)
    async with world.tools.pool.place("normal", seconds=1) as route:
        for _ in range(3):
            route.breaker.failed()
        world.time = 10.0
        outcome = await one(world, world.work())

    assert isinstance(outcome, RetryAfter)
    assert outcome.reason == "no_free_connection"
    assert await one(world, world.work()) == Done()


async def test_a_refusal_of_one_recipient_says_nothing_against_the_provider(world: World) -> None:
    world.provider.script = [Failed("recipient_deferred")] * 20
    for _ in range(20):
        await one(world, world.work())

    assert await one(world, world.work()) == Done()
