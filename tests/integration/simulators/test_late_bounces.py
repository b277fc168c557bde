"""Late bounces reach a gateway by a status call-back: after their time, and again where it was away."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from carillon.simulators.domain.rules import Rule
from tests.integration.simulators.misbehaving import simulated
from tests.support.processes import free_port
from tests.support.waiting import eventually

ADA = "ada@example.com"
BOUNCE = Rule(do="bounce", to="ada@*", seconds=0.1, text="550 5.1.1 Gone")


@dataclass
class Gateway:
    """Takes status call-backs; answers with the next of `statuses`, then with 200."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    heard: list[tuple[str, str, Any]] = field(default_factory=list)

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        self.heard.append((request.path, request.headers["Authorization"], await request.json()))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)


@contextlib.asynccontextmanager
async def gateway(*statuses: int) -> AsyncIterator[Gateway]:
    made = Gateway(statuses=list(statuses))
    port = free_port()
    runner = web.ServerRunner(web.Server(made))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    made.url = f"http://127.0.0.1:{port}"
    try:
        yield made
    finally:
        await runner.cleanup()


async def bounce_of(smtp: Any, state: str) -> None:
    async def reached() -> bool:
        return bool((await smtp.received(f"?to={ADA}"))[0]["bounce"] == state)

    await eventually(reached, within=20, says=f"the bounce is {state}")


async def test_a_mail_that_was_taken_is_told_to_have_failed() -> None:
    async with gateway() as there, simulated("smtp", BOUNCE, gateway=there.url, token="s3rvice") as smtp:
        await smtp.mail(ADA)
        await smtp.mail("bob@example.com")
        await bounce_of(smtp, "told")
        counts = await smtp.counts()

    word = {"notification_id": "0198c0de-0000-7000-8000-000000000001", "status": "failed", "error": "550 5.1.1 Gone"}
    assert there.heard == [("/api/v1/email/status/", "Bearer s3rvice", word)]
    assert (counts["bounces_told"], counts["bounces_waiting"], counts["taken"]) == (1, 0, 2)


async def test_a_gateway_that_is_away_for_a_moment_hears_of_it_later() -> None:
    async with gateway(503, 429) as there, simulated("smtp", BOUNCE, gateway=there.url, token="s3rvice") as smtp:
        await smtp.mail(ADA)
        await bounce_of(smtp, "told")

    assert len(there.heard) == 3


async def test_a_gateway_that_refuses_is_not_asked_again() -> None:
    async with gateway(404) as there, simulated("smtp", BOUNCE, gateway=there.url, token="s3rvice") as smtp:
        await smtp.mail(ADA)
        await bounce_of(smtp, "untold")

    assert len(there.heard) == 1


async def test_a_mail_that_names_no_notification_and_a_simulator_without_a_gateway_tell_nothing() -> None:
    async with gateway() as there, simulated("smtp", BOUNCE, gateway=there.url, token="s3rvice") as smtp:
        await smtp.mail(ADA, b"Subject: none\r\n\r\nHello\r\n")
        await bounce_of(smtp, "untold")
    async with simulated("smtp", BOUNCE) as smtp:
        await smtp.mail(ADA)
        await bounce_of(smtp, "untold")

    assert there.heard == []


async def test_the_soonest_is_told_first() -> None:
    rules = (Rule(do="bounce", nth=1, seconds=3_600), Rule(do="bounce", seconds=0))
    async with gateway() as there, simulated("smtp", *rules, gateway=there.url, token="s3rvice") as smtp:
        await smtp.mail("late@example.com")
        await smtp.mail(ADA)
        await bounce_of(smtp, "told")
        assert (await smtp.counts())["bounces_waiting"] == 1
        await smtp.ask("DELETE", "/received")
        assert (await smtp.counts())["bounces_waiting"] == 0
