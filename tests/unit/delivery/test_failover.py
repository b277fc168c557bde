"""Failover: what nobody can have taken goes to the next provider in the same attempt; all else is tried later."""

import asyncio

import pytest
from prometheus_client import REGISTRY

from carillon.delivery.actions.deliver import deliver
from carillon.delivery.actions.tools import Work
from carillon.delivery.domain import Accepted, Failed, ProviderAnswer, Refused
from carillon.delivery.ports import Terms
from carillon.kit.broker.port import DeadLetter, Done, Outcome, RetryAfter
from carillon.kit.telemetry.metrics import rendered
from tests.support.waiting import eventually
from tests.unit.delivery.world import FakeProvider, World

AWAY = Failed("smtp_connection_failed", "refused by ada@example.com", down=True)


@pytest.fixture
def second(world: World) -> FakeProvider:
    """Beside the provider that is asked first."""
    provider = FakeProvider(world, name="second")
    world.providers.append(provider)
    return provider


async def one(world: World, work: Work) -> Outcome:
    (outcome,) = await deliver([work], world.tools)
    return outcome


async def test_what_a_provider_certainly_did_not_take_goes_to_the_next_in_the_same_attempt(
    world: World, second: FakeProvider
) -> None:
    world.provider.script = [AWAY]

    assert await one(world, world.work()) == Done()

    report = world.reports.told[-1]
    assert (report.status, report.attempts) == ("delivered", 1)
    assert (report.steps[-1].provider, report.steps[-1].detail) == (
        "second",
        {
            "provider_message_id": "id-1",
            "passed_over": [{"provider": "fake", "reason": "smtp_connection_failed", "error": "refused by …"}],
        },
    )
    assert [len(provider.sent) for provider in (world.provider, second)] == [1, 1]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Failed("provider_timeout", down=True, unknown=True), RetryAfter),
        (Failed("smtp_connection_failed", down=True, unknown=True), RetryAfter),
        (Failed("recipient_deferred"), RetryAfter),
        (Refused("recipient_refused"), DeadLetter),
        (ZeroDivisionError("a mistake"), RetryAfter),
    ],
)
async def test_what_may_have_been_taken_and_what_is_the_messages_own_trouble_is_given_to_no_other(
    world: World, second: FakeProvider, answer: ProviderAnswer | Exception, outcome: type[Outcome]
) -> None:
    world.provider.script = [answer]

    assert isinstance(await one(world, world.work()), outcome)
    assert second.sent == []
    assert world.reports.told[-1].attempts == 1


async def test_when_all_providers_are_to_blame_the_attempt_has_failed_once_and_tells_of_each(
    world: World, second: FakeProvider
) -> None:
    world.provider.always = AWAY
    second.always = Failed("smtp_authentication_failed", "535 no", down=True)

    assert isinstance(await one(world, world.work()), RetryAfter)

    report = world.reports.told[-1]
    assert (report.attempts, report.reason, report.steps[-1].provider) == (1, "smtp_authentication_failed", "second")
    assert report.steps[-1].detail is not None
    assert [each["provider"] for each in report.steps[-1].detail["passed_over"]] == ["fake"]
    assert (len(world.provider.sent), len(second.sent)) == (1, 1)


async def test_a_dead_letter_tells_of_the_providers_that_were_passed_over(world: World, second: FakeProvider) -> None:
    world.provider.always, second.always = AWAY, Refused("message_refused", "554 spam")

    assert await one(world, world.work()) == DeadLetter("message_refused")
    detail = world.reports.told[-1].steps[-1].detail
    assert detail is not None
    assert (detail["error"], detail["passed_over"][0]["provider"]) == ("554 spam", "fake")


async def test_a_provider_that_is_away_is_passed_over_until_its_probe_succeeds(
    world: World, second: FakeProvider
) -> None:
    world.provider.always = AWAY
    for _ in range(20):
        assert await one(world, world.work()) == Done()
    assert (len(world.provider.sent), len(second.sent)) == (3, 20)

    world.time, world.provider.always = 10.0, None
    for _ in range(21):
        assert await one(world, world.work()) == Done()
    assert abs(len(world.provider.sent) - 3 - 11) <= 1


async def test_a_probe_that_fails_costs_its_message_nothing_where_another_provider_is_there(
    world: World, second: FakeProvider
) -> None:
    world.provider.always = AWAY
    for _ in range(6):
        await one(world, world.work())
    world.time = 10.0

    assert await one(world, world.work()) == Done()
    assert (world.reports.told[-1].attempts, world.reports.told[-1].steps[-1].provider) == (1, "second")
    assert world.tools.pool.states() == {"fake": "open", "second": "closed"}


async def test_a_failover_does_not_go_past_the_deadline_of_the_attempt(world: World, second: FakeProvider) -> None:
    async def late() -> ProviderAnswer:
        world.time += world.limits.slot + 1
        return AWAY

    world.provider.script = [late]

    assert isinstance(await one(world, world.work()), RetryAfter)
    assert second.sent == []


async def test_a_breaker_that_opens_under_a_batch_costs_the_rest_of_it_no_attempt(world: World) -> None:
    world.provider.always, world.slots = AWAY, 1
    works = [world.work() for _ in range(20)]

    outcomes = await deliver(works, world.tools)

    reasons = [outcome.reason for outcome in outcomes if isinstance(outcome, RetryAfter)]
    assert (reasons.count("smtp_connection_failed"), reasons.count("provider_away")) == (3, 17)
    attempts = [world.deliveries.rows[work.request.notification_id, 0].attempt for work in works]
    assert sorted(attempts) == [0] * 17 + [1] * 3


async def test_what_began_before_the_breaker_opened_does_not_close_it(world: World) -> None:
    release = asyncio.Event()

    async def slowly() -> ProviderAnswer:
        await release.wait()
        return Accepted()

    world.provider.script = [slowly, AWAY, AWAY, AWAY]
    slow = asyncio.create_task(deliver([world.work()], world.tools))
    await eventually(lambda: world.provider.sent)
    for _ in range(3):
        await one(world, world.work())
    release.set()

    assert await slow == [Done()]
    assert world.tools.pool.states() == {"fake": "open"}


async def test_what_waits_for_a_rate_uses_up_no_attempt(world: World) -> None:
    world.provider.terms = Terms(rate=0.1)
    world.limits = type(world.limits)(lease=60, send=0.3, ladder=world.limits.ladder)

    outcomes = await deliver([world.work() for _ in range(3)], world.tools)

    assert outcomes.count(Done()) == 1
    assert [outcome.reason for outcome in outcomes if isinstance(outcome, RetryAfter)] == ["no_free_connection"] * 2
    assert sorted(row.attempt for row in world.deliveries.rows.values()) == [0, 0, 1]


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"service": "", **labels}) or 0.0


async def test_sends_failovers_and_breakers_are_counted(world: World) -> None:
    world.provider.name, world.providers[1:] = "counted", [FakeProvider(world, name="counted too")]
    world.provider.always = AWAY
    for _ in range(5):
        await one(world, world.work())

    assert b"carillon_provider_sends_total" in rendered()
    sends = "carillon_provider_sends_total"
    assert counted(sends, provider="counted", outcome="failed") == 3
    assert counted(sends, provider="counted too", outcome="accepted") == 5
    assert counted("carillon_provider_failovers_total", provider="counted too") == 3
    assert counted("carillon_provider_breaker", provider="counted") == 2
    assert counted("carillon_provider_breaker", provider="counted too") == 0
