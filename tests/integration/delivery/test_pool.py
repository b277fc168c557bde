"""Several SMTP servers on the wire, of which one dies, comes back, refuses log-ins, sends us away or falls silent."""

import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from carillon.contracts.messages import DeliveryRequested
from carillon.kit.http.system import examine
from carillon.kit.service import Running
from tests.fakes.smtp import FakeSmtp, fake_smtp
from tests.integration.delivery.house import House
from tests.integration.email_worker.server import ScriptedSmtp, scripted_smtp
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def second() -> Iterator[FakeSmtp]:
    with fake_smtp() as server:
        yield server


@pytest.fixture
def third() -> Iterator[FakeSmtp]:
    with fake_smtp() as server:
        yield server


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedSmtp]:
    async with scripted_smtp() as server:
        yield server


def urls(*ports: int, user: str = "", **options: object) -> str:
    """Servers called a, b and c; the options are the first one's."""
    first = "".join(f"&{name}={value}" for name, value in options.items())
    return ",".join(
        f"smtp://{user if place == 0 else ''}127.0.0.1:{port}?tls=none&name={'abc'[place]}{first if place == 0 else ''}"
        for place, port in enumerate(ports)
    )


def requests_of(house: House, count: int, name: str = "user") -> list[DeliveryRequested]:
    return [house.request(house.person(f"{name}{n}@example.com")) for n in range(count)]


async def delivered(house: House, requests: list[DeliveryRequested]) -> None:
    def missing() -> int:
        return sum(house.status(request) != "delivered" for request in requests)

    await eventually(lambda: missing() == 0, within=60, says="some are not delivered")


def recipients(*servers: FakeSmtp) -> list[str]:
    return sorted(mail.recipient for server in servers for mail in server.mails)


def expected(count: int, name: str = "user") -> list[str]:
    return sorted(f"{name}{n}@example.com" for n in range(count))


def passed_over(house: House) -> list[dict[str, str]]:
    steps = [step for report in house.reports for step in report.steps if step.kind == "delivered"]
    return [each for step in steps for each in (step.detail or {}).get("passed_over", [])]


async def states(running: Running) -> dict[str, str]:
    health, _ = await examine("email_worker", {"providers": running.checks["providers"]})
    found = health.dependencies["providers"].states
    assert isinstance(found, dict)
    return found


async def test_servers_share_the_mail_by_their_weights(neighbours: House, second: FakeSmtp) -> None:
    requests = requests_of(neighbours, 100)
    async with neighbours.worker(smtp_url=urls(neighbours.smtp.port, second.port, weight=4)) as running:
        await neighbours.publish(*requests)
        await delivered(neighbours, requests)
        assert await states(running) == {"a": "closed", "b": "closed"}

    assert recipients(neighbours.smtp, second) == expected(100)
    assert abs(len(neighbours.smtp.mails) - 80) <= 4


async def test_one_of_three_dies_and_comes_back_and_every_mail_goes_out_once_at_the_first_attempt(
    neighbours: House, second: FakeSmtp, third: FakeSmtp
) -> None:
    first = neighbours.smtp
    before, during, after = (requests_of(neighbours, 40, name) for name in ("before", "during", "after"))
    async with neighbours.worker(smtp_url=urls(first.port, second.port, third.port), max_attempts=1) as running:
        await neighbours.publish(*before)
        await delivered(neighbours, before)
        first.stop()
        await neighbours.publish(*during)
        await delivered(neighbours, during)
        assert (await states(running))["a"] != "closed"
        had = len(first.mails)

        first.start()
        probes = 0
        while (await states(running))["a"] != "closed":  # every message may be the probe
            probe = neighbours.request(neighbours.person(f"probe{probes}@example.com"))
            await neighbours.publish(probe)
            await delivered(neighbours, [probe])
            probes += 1
        await neighbours.publish(*after)
        await delivered(neighbours, after)

    sent = [*expected(40, "before"), *expected(40, "during"), *expected(40, "after"), *expected(probes, "probe")]
    assert recipients(first, second, third) == sorted(sent)
    assert len(first.mails) > had
    assert neighbours.dead == []


async def test_a_server_that_refuses_log_ins_costs_nobody_an_attempt_and_health_and_timeline_tell_of_it(
    neighbours: House, scripted: ScriptedSmtp
) -> None:
    scripted.replies.update(EHLO="250-here\r\n250 AUTH PLAIN", AUTH="535 5.7.8 wrong password")
    requests = requests_of(neighbours, 30)
    smtp_url = urls(scripted.port, neighbours.smtp.port, user="bell:wrong@")
    async with neighbours.worker(smtp_url=smtp_url, max_attempts=1, breaker_seconds=60) as running:
        await neighbours.publish(*requests)
        await delivered(neighbours, requests)
        health, ready = await examine("email_worker", running.checks)

    assert recipients(neighbours.smtp) == expected(30)
    assert scripted.mails == []
    assert (health.dependencies["providers"].status, ready) == ("away", True)
    assert health.dependencies["providers"].states == {"a": "open", "b": "closed"}
    passed = passed_over(neighbours)
    assert len(passed) >= 5
    assert {(each["provider"], each["reason"]) for each in passed} == {("a", "smtp_authentication_failed")}


async def test_a_server_that_sends_everybody_away_before_the_content_is_passed_over(
    neighbours: House, scripted: ScriptedSmtp
) -> None:
    scripted.replies["MAIL"] = "421 4.3.2 closing for maintenance"
    requests = requests_of(neighbours, 20)
    async with neighbours.worker(smtp_url=urls(scripted.port, neighbours.smtp.port), max_attempts=1):
        await neighbours.publish(*requests)
        await delivered(neighbours, requests)

    assert recipients(neighbours.smtp) == expected(20)
    assert scripted.mails == []


async def test_a_server_that_takes_the_content_and_hangs_up_is_of_unknown_outcome_and_nothing_fails_over(
    neighbours: House, scripted: ScriptedSmtp
) -> None:
    scripted.replies["END"] = "close"
    neighbours.publish_template(at_most_once=True)
    requests = requests_of(neighbours, 10)
    async with neighbours.worker(smtp_url=urls(scripted.port, neighbours.smtp.port), breaker_seconds=60):
        await neighbours.publish(*requests)
        await eventually(lambda: all(neighbours.status(each) in {"delivered", "failed"} for each in requests))

    failed = [request for request in requests if neighbours.status(request) == "failed"]
    assert len(failed) == scripted.count("DATA") >= 1
    assert len(neighbours.smtp.mails) == 10 - len(failed)
    assert {neighbours.told(request, "failed")[0].reason for request in failed} == {"outcome_unknown"}


@contextlib.contextmanager
def tarpit() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(100)
        yield listening.getsockname()[1]


async def test_a_server_that_falls_silent_is_passed_over_within_the_deadline(neighbours: House) -> None:
    requests = requests_of(neighbours, 20)
    with tarpit() as silent:
        async with neighbours.worker(smtp_url=urls(silent, neighbours.smtp.port), send_seconds=6, breaker_seconds=60):
            await neighbours.publish(*requests)
            await delivered(neighbours, requests)

    assert recipients(neighbours.smtp) == expected(20)
    assert {(each["provider"], each["reason"]) for each in passed_over(neighbours)} == {("a", "smtp_timeout")}


async def test_while_every_server_is_away_messages_wait_for_one_and_none_is_lost_or_doubled(
    neighbours: House, second: FakeSmtp
) -> None:
    neighbours.smtp.stop()
    second.stop()
    requests = requests_of(neighbours, 40)
    async with neighbours.worker(smtp_url=urls(neighbours.smtp.port, second.port)):
        await neighbours.publish(*requests)
        await eventually(lambda: all(neighbours.status(request) == "pending" for request in requests), within=30)
        second.start()
        await delivered(neighbours, requests)

    assert recipients(second) == expected(40)


async def test_what_the_bulk_lane_waits_for_does_not_hold_up_the_high_lane(neighbours: House) -> None:
    bulk, high = requests_of(neighbours, 100, "bulk"), requests_of(neighbours, 3, "high")
    async with neighbours.worker(smtp_url=urls(neighbours.smtp.port, rate=10)):
        await neighbours.publish(*bulk, lane="bulk")
        await eventually(lambda: len(neighbours.smtp.mails) >= 5)
        await neighbours.publish(*high, lane="high")
        await eventually(lambda: len([r for r in recipients(neighbours.smtp) if r.startswith("high")]) == 3, within=30)
        assert len(neighbours.smtp.mails) < 90, "they went past what was waiting"
        assert neighbours.dead == []
