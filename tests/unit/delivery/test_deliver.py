"""The pipeline: look up, decide, render, claim, send, report, and what each step says when it cannot go on."""

from datetime import timedelta

import msgspec
import pytest

from carillon.contracts.messages import DeliveryReported
from carillon.contracts.preferences import CategoryRule, Choices, decide
from carillon.contracts.statuses import RANK_DELIVERED, RANK_FAILED, RANK_SUPPRESSED
from carillon.contracts.templates import Content
from carillon.delivery import crashes
from carillon.delivery.actions.deliver import deliver
from carillon.delivery.actions.tools import Work
from carillon.delivery.domain import Failed, Refused
from carillon.kit.broker.port import DeadLetter, Done, Outcome, RetryAfter
from tests.unit.delivery.world import START, World


async def one(world: World, work: Work) -> Outcome:
    (outcome,) = await deliver([work], world.tools)
    return outcome


def told(world: World) -> DeliveryReported:
    return world.reports.told[-1]


def kinds(report: DeliveryReported) -> list[str]:
    return [step.kind for step in report.steps]


async def test_a_message_is_claimed_then_sent_then_written_then_told_then_done(world: World) -> None:
    outcome = await one(world, world.work())

    assert outcome == Done()
    assert world.journal == ["claimed", "sent_out", "sent", "told_delivered"]
    assert world.provider.sent == [("ada@example.com", "Hello Ada")]
    report = told(world)
    assert (report.status, report.stage, report.rank, report.attempts) == ("delivered", None, RANK_DELIVERED, 1)
    assert kinds(report) == ["looked_up", "rendered", "delivered"]
    assert [step.key for step in report.steps] == ["0.1.looked_up", "0.1.rendered", "0.1.delivered"]
    looked_up, rendered, delivered = report.steps
    assert looked_up.detail == {"source": "cached", "rule": "channel_default"}
    assert rendered.detail == {"version": 3, "language": "en"}
    assert (delivered.provider, delivered.detail) == ("fake", {"provider_message_id": "id-1"})


async def test_a_batch_is_claimed_with_one_statement_and_keeps_its_order(world: World) -> None:
    batch = [world.work(world.person(allowed=number % 5 != 0)) for number in range(50)]

    outcomes = await deliver(batch, world.tools)

    assert outcomes == [Done()] * 50
    assert world.deliveries.claims == [40]
    assert len(world.provider.sent) == 40
    assert {r.notification_id for r in world.reports.told if r.status == "suppressed"} == {
        work.request.notification_id for work in batch[::5]
    }


async def test_whoever_opted_out_gets_nothing_and_the_rule_is_told(world: World) -> None:
    outcome = await one(world, world.work(world.person(allowed=False)))

    assert outcome == Done()
    assert world.journal == ["told_suppressed"]
    report = told(world)
    assert (report.status, report.rank, report.reason) == ("suppressed", RANK_SUPPRESSED, "wants no e-mail")
    assert report.steps[-1].detail == {"rule": "channel_opt_out"}


async def test_the_layers_that_had_a_say_are_told_with_the_rule(world: World) -> None:
    user_id = world.person()
    decision = decide(Choices(email=False), channel="email", category="news", rule=CategoryRule(), reach="reachable")
    contact = world.contacts.people[user_id]
    world.contacts.people[user_id] = msgspec.structs.replace(contact, decision=decision)

    await one(world, world.work(user_id, category="news"))

    detail = told(world).steps[-1].detail
    assert detail is not None
    assert detail["rule"] == "channel_opt_out"
    assert [(layer["layer"], layer["allows"]) for layer in detail["layers"]] == [
        ("channel_opt_out", False), ("category_default", True),
    ]  # fmt: skip


async def test_an_opt_out_between_two_attempts_is_honoured(world: World) -> None:
    work = world.work()
    world.provider.script = [Failed("busy")]
    assert isinstance(await one(world, work), RetryAfter)

    world.contacts.people[work.request.user_id] = world.contacts.people[world.person(allowed=False)]
    assert await one(world, work) == Done()
    assert told(world).status == "suppressed"
    assert len(world.provider.sent) == 1


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"user_id": None, "template_code": "nowhere"}, "template_not_found"),
        ({"variables": {}}, "missing_variable: name"),
    ],
)
async def test_what_can_never_be_said_fails_for_good_and_is_told_before_it_is_a_dead_letter(
    world: World, given: dict[str, object], reason: str
) -> None:
    outcome = await one(world, world.work(**given))  # type: ignore[arg-type]

    assert outcome == DeadLetter(reason)
    assert world.journal == ["told_failed"]
    assert (told(world).status, told(world).rank, told(world).reason) == ("failed", RANK_FAILED, reason)


async def test_an_unknown_user_and_one_without_address_fail_for_good(world: World) -> None:
    work = world.work()
    world.contacts.people.clear()
    assert await one(world, work) == DeadLetter("user_not_found")

    assert await one(world, world.work(world.person(email=None))) == DeadLetter("no_address")
    assert world.deliveries.claims == []


@pytest.mark.parametrize("service", ["users", "templates"])
async def test_while_nobody_can_tell_a_message_waits_without_using_up_an_attempt(world: World, service: str) -> None:
    away = world.contacts if service == "users" else world.templates
    away.away = True
    outcome = await one(world, world.work())

    assert isinstance(outcome, RetryAfter)
    assert outcome.reason == f"{service}_away"
    assert outcome.delay >= (7 if service == "users" else 1)
    assert world.deliveries.claims == []
    report = told(world)
    assert (report.status, report.stage, report.attempts, kinds(report)) == ("pending", "retrying", 0, ["waiting"])
    assert report.next_expected_at is not None
    assert report.next_expected_at > world.now() + timedelta(seconds=outcome.delay)


async def test_a_failed_attempt_is_released_told_and_tried_again(world: World) -> None:
    world.provider.script = [Failed("recipient_deferred", "451 later")]
    work = world.work()

    outcome = await one(world, work)

    assert isinstance(outcome, RetryAfter)
    assert 0 < outcome.delay <= 5
    report = told(world)
    assert (report.status, report.stage, report.attempts, report.error) == ("pending", "retrying", 1, "451 later")
    assert report.next_expected_at == world.now() + timedelta(seconds=LONGEST_FIRST_RUNG + 60)
    step = report.steps[-1]
    assert (step.key, step.kind, step.attempt, step.provider) == ("0.1.attempt_failed", "attempt_failed", 1, "fake")

    assert await one(world, work) == Done()
    assert (told(world).attempts, told(world).steps[-1].key) == (2, "0.2.delivered")


LONGEST_FIRST_RUNG = 5


async def test_when_attempts_are_used_up_it_fails_and_becomes_a_dead_letter(world: World) -> None:
    world.provider.always = Failed("recipient_deferred", "451 later")
    work = world.work()
    outcomes = [await one(world, work) for _ in range(4)]

    assert [type(outcome) for outcome in outcomes] == [RetryAfter, RetryAfter, RetryAfter, DeadLetter]
    assert (told(world).status, told(world).attempts, told(world).error) == ("failed", 4, "451 later")
    assert await one(world, work) == DeadLetter("recipient_deferred")
    assert len(world.provider.sent) == 4


async def test_a_permanent_refusal_is_not_tried_again(world: World) -> None:
    world.provider.script = [Refused("recipient_refused", "550 no such mailbox")]

    assert await one(world, world.work()) == DeadLetter("recipient_refused")
    assert (told(world).reason, told(world).error) == ("recipient_refused", "550 no such mailbox")
    assert world.journal == ["claimed", "sent_out", "failed", "told_failed"]


async def test_what_is_too_old_is_given_up(world: World) -> None:
    work = world.work()
    world.time = 90_000.0

    assert await one(world, work) == DeadLetter("gave_up")
    assert world.provider.sent == []


async def test_the_category_of_the_template_decides_where_the_request_names_none(world: World) -> None:
    world.templates.publish("news", category="newsletter")
    await one(world, world.work(template_code="news"))
    await one(world, world.work(template_code="news", category="urgent"))

    assert [category for _, _, category in world.contacts.asked] == ["newsletter", "urgent"]


async def test_the_language_is_the_persons_own(world: World) -> None:
    for language in ("pt-BR", "fr"):
        world.templates.publish(language=language, content=Content(subject=language, body_text="x"))
    brazilian = world.person(locale="pt_BR.UTF-8")
    for person in (brazilian, world.person(locale="fr"), world.person(locale="??")):
        await one(world, world.work(person))

    assert [subject for _, subject in world.provider.sent] == ["pt-BR", "fr", "Hello Ada"]


async def test_a_crash_of_one_message_harms_none_of_its_neighbours_and_is_bounded(world: World) -> None:
    world.templates.publish("broken", content=Content(subject="crash", body_text="x"))
    batch = [world.work(), world.work(template_code="broken"), world.work()]

    first, crashed, last = await deliver(batch, world.tools)

    assert (first, last) == (Done(), Done())
    assert isinstance(crashed, RetryAfter)
    assert (crashed.reason, crashed.headers) == ("worker_error", {crashes.HEADER: "1"})
    again = world.work(template_code="broken", crashes=3)
    assert await one(world, again) == DeadLetter("worker_error")


async def test_waits_are_not_crashes_however_many_there_were(world: World) -> None:
    world.templates.publish("broken", content=Content(subject="crash", body_text="x"))

    outcome = await one(world, world.work(template_code="broken", seen_before=100))

    assert isinstance(outcome, RetryAfter)
    assert outcome.headers == {crashes.HEADER: "1"}
    assert outcome.delay <= 2, "the first crash waits as the first one does"


async def test_a_provider_that_crashes_has_failed_an_attempt(world: World) -> None:
    world.provider.script = [ZeroDivisionError("a mistake")]
    outcome = await one(world, world.work())

    assert isinstance(outcome, RetryAfter)
    assert (told(world).reason, told(world).attempts) == ("worker_error", 1)


async def test_times_of_steps_are_those_of_the_clock(world: World) -> None:
    world.time = 42.0
    await one(world, world.work())

    assert {step.at for step in told(world).steps} == {START + timedelta(seconds=42)}
