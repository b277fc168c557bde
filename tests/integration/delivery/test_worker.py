"""From a published request to a report in the status queue: real PostgreSQL, HTTP and SMTP."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec
import pytest

from carillon.contracts.channels import queue_of
from carillon.contracts.dead_letters import (
    ATTEMPTS_HEADER,
    FIRST_ERROR_HEADER,
    LAST_ERROR_HEADER,
    PROVIDER_HEADER,
    REPORTED_HEADER,
)
from carillon.contracts.quiet_hours import QuietHours
from carillon.kit.broker.port import REASON_HEADER, Message
from carillon.kit.database import open_database
from carillon.kit.http.client import ServiceUnavailable
from carillon.kit.settings import SettingsError
from tests.integration.delivery.house import NO, House
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(90)


async def test_requests_of_every_lane_become_mails_and_reports(neighbours: House) -> None:
    requests = [neighbours.request(neighbours.person(f"user{n}@example.com")) for n in range(120)]
    await neighbours.publish(*requests[:100])
    await neighbours.publish(*requests[100:110], lane="high")
    await neighbours.publish(*requests[110:], lane="bulk")

    async with neighbours.worker():
        await eventually(lambda: len(neighbours.reports) >= 120, within=30)

    assert {neighbours.status(request) for request in requests} == {"delivered"}
    assert sorted(mail.recipient for mail in neighbours.smtp.mails) == sorted(
        f"user{n}@example.com" for n in range(120)
    )
    assert neighbours.questions < 30
    report = neighbours.told(requests[0], "delivered")[0]
    assert [step.kind for step in report.steps] == ["looked_up", "rendered", "delivered"]


async def test_a_duplicate_that_arrives_after_the_mail_went_out_is_told_again_and_not_sent_again(
    neighbours: House,
) -> None:
    request = neighbours.request(neighbours.person("ada@example.com"))
    async with neighbours.worker():
        await neighbours.publish(request)
        await eventually(lambda: neighbours.told(request, "delivered"))
        await neighbours.publish(request)
        await eventually(lambda: len(neighbours.told(request, "delivered")) == 2)

    first, second = neighbours.told(request, "delivered")
    assert len(neighbours.smtp.mails) == 1
    assert second.steps[-1].key == first.steps[-1].key


async def test_two_workers_and_every_message_twice_send_every_mail_once(neighbours: House) -> None:
    requests = [neighbours.request(neighbours.person(f"user{n}@example.com")) for n in range(60)]
    async with neighbours.worker(), neighbours.worker():
        await asyncio.gather(neighbours.publish(*requests), neighbours.publish(*reversed(requests)))
        await eventually(lambda: all(neighbours.status(request) == "delivered" for request in requests), within=30)

    assert len(neighbours.smtp.mails) == 60


async def test_while_the_claims_cannot_be_written_messages_wait_and_none_dies_of_it(neighbours: House) -> None:
    request = neighbours.request(neighbours.person("ada@example.com"))
    async with open_database(neighbours.settings.database_url, name="test") as database, neighbours.worker():
        await database.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'a standby' USING ERRCODE = '25006'; END $$"
        )
        await database.execute(
            "CREATE TRIGGER standby BEFORE INSERT ON email_worker.deliveries EXECUTE FUNCTION refuse()"
        )
        await neighbours.publish(request)
        await eventually(lambda: neighbours.told(request, "pending"))
        await database.execute("DROP TRIGGER standby ON email_worker.deliveries")
        await eventually(lambda: neighbours.status(request) == "delivered", within=30)

    assert neighbours.told(request, "pending")[0].reason == "claims_away"
    assert len(neighbours.smtp.mails) == 1


async def test_whoever_opts_out_while_their_message_waits_gets_nothing(neighbours: House) -> None:
    user_id = neighbours.person("ada@example.com")
    before = neighbours.request(user_id)
    async with neighbours.worker(contact_fresh_seconds=3600):
        await neighbours.publish(before)
        await eventually(lambda: neighbours.told(before, "delivered"))

        neighbours.decide(user_id, "ada@example.com", NO)

        async def suppressed() -> bool:
            await neighbours.announce(user_id)
            request = neighbours.request(user_id)
            await neighbours.publish(request)
            await eventually(lambda: neighbours.status(request) in {"delivered", "suppressed"})
            return neighbours.status(request) == "suppressed"

        await eventually(suppressed)


async def test_a_message_rests_in_quiet_hours_uses_up_no_attempt_and_goes_out_when_they_end(
    neighbours: House,
) -> None:
    sleeper, other = neighbours.person("ada@example.com"), neighbours.person("bob@example.com")
    awake, now = neighbours.people[sleeper], datetime.now(UTC)
    quiet = QuietHours(f"{now - timedelta(hours=1):%H:%M}", f"{now + timedelta(hours=2):%H:%M}", "UTC")
    neighbours.people[sleeper] = msgspec.structs.replace(awake, quiet_hours=quiet)
    held, urgent = neighbours.request(sleeper), neighbours.request(other)
    async with neighbours.worker(max_attempts=1, contact_fresh_seconds=3600):
        await neighbours.publish(held, urgent)
        await eventually(lambda: neighbours.told(held, "pending"))
        await eventually(lambda: neighbours.status(urgent) == "delivered")
        looks = neighbours.questions

        async def looked_at_again() -> bool:
            await neighbours.announce(sleeper)
            return neighbours.questions > looks + 2

        await eventually(looked_at_again, within=20, says="the rest is longer than the longest rung")
        assert [mail.recipient for mail in neighbours.smtp.mails] == ["bob@example.com"]

        neighbours.people[sleeper] = awake

        async def delivered() -> bool:
            await neighbours.announce(sleeper)
            return neighbours.status(held) == "delivered"

        await eventually(delivered, within=20)

    (waiting,), (ended,) = neighbours.told(held, "pending"), neighbours.told(held, "delivered")
    assert (waiting.stage, waiting.reason, [step.kind for step in waiting.steps]) == (
        "scheduled", "quiet_hours", ["waiting"],
    )  # fmt: skip
    assert ended.attempts == 1


async def test_while_the_provider_is_down_messages_are_retried_and_then_delivered_once(neighbours: House) -> None:
    neighbours.smtp.stop()
    requests = [neighbours.request(neighbours.person(f"user{n}@example.com")) for n in range(20)]
    async with neighbours.worker():
        await neighbours.publish(*requests)
        await eventually(lambda: len(neighbours.reports) >= 20)
        assert {neighbours.status(request) for request in requests} == {"pending"}
        neighbours.smtp.start()
        await eventually(lambda: all(neighbours.status(request) == "delivered" for request in requests), within=40)

    assert len(neighbours.smtp.mails) == 20


async def test_while_users_is_away_messages_wait_and_use_up_no_attempt(neighbours: House) -> None:
    await neighbours.elsewhere.stop()
    request = neighbours.request(neighbours.person("ada@example.com"))
    async with neighbours.worker(max_attempts=1):
        await neighbours.publish(request)
        await eventually(lambda: neighbours.told(request, "pending"))
        await neighbours.elsewhere.start()
        await eventually(lambda: neighbours.status(request) == "delivered", within=30)

    waiting, delivered = neighbours.told(request, "pending")[0], neighbours.told(request, "delivered")[0]
    assert waiting.steps[0].reason in {"users_away", "templates_away"}
    assert delivered.attempts == 1


async def test_a_temporary_refusal_ends_as_a_dead_letter_with_all_attempts_told(neighbours: House) -> None:
    neighbours.smtp.answers["busy@.*"] = "451 4.7.1 <busy@example.com> try later"
    request = neighbours.request(neighbours.person("busy@example.com"))
    async with neighbours.worker(max_attempts=3):
        await neighbours.publish(request)
        await eventually(lambda: neighbours.dead and neighbours.told(request, "failed"), within=60)

    assert neighbours.status(request) == "failed"
    assert neighbours.smtp.attempts.count("busy@example.com") == 3
    kinds = {step.key: step.kind for report in neighbours.reports for step in report.steps}
    assert [kinds[f"0.{n}.attempt_failed"] for n in (1, 2)] == ["attempt_failed"] * 2
    assert kinds["0.3.failed"] == "failed"
    dead = neighbours.dead[0].headers
    assert dead[REASON_HEADER] == "recipient_deferred"
    assert (dead[ATTEMPTS_HEADER], dead[REPORTED_HEADER]) == ("3", "1")
    assert dead[PROVIDER_HEADER].startswith("smtp:")
    assert dead[FIRST_ERROR_HEADER] == dead[LAST_ERROR_HEADER] == "451 4.7.1 <…> try later"
    assert msgspec.json.decode(neighbours.dead[0].body)["notification_id"] == str(request.notification_id)


async def test_a_message_that_cannot_be_read_goes_to_the_failed_queue_and_stops_nobody(neighbours: House) -> None:
    request = neighbours.request(neighbours.person("ada@example.com"))
    await neighbours.broker.publish([Message(queue_of("email", "normal"), b"garbage")])
    await neighbours.publish(request)
    async with neighbours.worker():
        await eventually(lambda: neighbours.told(request, "delivered") and neighbours.dead)

    assert neighbours.dead[0].body == b"garbage"
    assert neighbours.dead[0].headers[REASON_HEADER] == "undecodable"


async def test_a_worker_that_is_stopped_finishes_what_it_has_in_hand(neighbours: House) -> None:
    neighbours.smtp.seconds_a_mail = 0.3
    requests = [neighbours.request(neighbours.person(f"user{n}@example.com")) for n in range(30)]
    async with neighbours.worker():
        await neighbours.publish(*requests)
        await eventually(lambda: neighbours.smtp.attempts)
    sent = len(neighbours.smtp.mails)
    await eventually(lambda: sum(neighbours.status(r) == "delivered" for r in requests) == sent)

    neighbours.smtp.seconds_a_mail = 0
    async with neighbours.worker():
        await eventually(lambda: all(neighbours.status(request) == "delivered" for request in requests), within=30)
    assert len(neighbours.smtp.mails) == 30


async def test_health_names_what_is_away_and_ready_follows(neighbours: House) -> None:
    async with neighbours.worker() as running:
        assert set(running.checks) == {"database", "broker", "providers", "users", "templates"}
        for check in running.checks.values():
            await check.probe()

        await neighbours.elsewhere.stop()
        with pytest.raises(ServiceUnavailable):
            await running.checks["users"].probe()
        neighbours.smtp.stop()
        await neighbours.elsewhere.start()
        await neighbours.publish(*(neighbours.request(neighbours.person(f"u{n}@example.com")) for n in range(10)))
        await eventually(partial(fails, running.checks["providers"].probe))


async def fails(probe: Callable[[], Awaitable[None]]) -> bool:
    try:
        await probe()
    except ConnectionError:
        return True
    return False


async def test_without_a_token_the_worker_says_how_to_get_one(neighbours: House) -> None:
    with pytest.raises(SettingsError, match="carillon migrate"):
        async with neighbours.worker(token_file=Path("/nowhere/token")):
            pass
