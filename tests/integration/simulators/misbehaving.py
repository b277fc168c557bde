"""A simulator of the shipped tool in this process, its control API, and clients for it."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import aiosmtplib
import jwt

from carillon.kit.service import bind
from carillon.simulators.actions import GRANT, SCOPES
from carillon.simulators.domain.rules import Rule
from carillon.simulators.tool.running import Simulation, build
from tests.support.http import serving
from tests.support.waiting import eventually

CONTENT = b"From: <app@example.com>\r\nMessage-ID: <0198c0de-0000-7000-8000-000000000001@app>\r\n\r\nHello\r\n"


@dataclass(frozen=True)
class Simulated:
    """Where it is reached; `account` is the push simulator's."""

    port: int
    control: str
    session: aiohttp.ClientSession
    account: dict[str, Any]

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, dict[str, Any]]:
        async with self.session.request(method, f"{self.control}/api/v1{path}", **options) as answer:
            return answer.status, await answer.json()

    async def received(self, query: str = "") -> list[dict[str, Any]]:
        status, said = await self.ask("GET", f"/received{query}")
        assert status == 200, said
        found: list[dict[str, Any]] = said["data"]
        return found

    async def counts(self) -> dict[str, int]:
        _, said = await self.ask("GET", "/counts")
        found: dict[str, int] = said["data"]
        return found

    async def follow(self, *rules: dict[str, Any]) -> None:
        status, said = await self.ask("PUT", "/rules", json={"rules": list(rules)})
        assert status == 200, said

    @contextlib.asynccontextmanager
    async def client(self, *, seconds: float = 10) -> AsyncIterator[aiosmtplib.SMTP]:
        client = aiosmtplib.SMTP(hostname="127.0.0.1", port=self.port, use_tls=False, start_tls=False, timeout=seconds)
        await client.connect()
        try:
            yield client
        finally:
            client.close()

    async def mail(self, to: str, content: bytes = CONTENT, *, seconds: float = 10) -> str:
        """One mail on a connection of its own; the server's last words."""
        async with self.client(seconds=seconds) as client:
            _, words = await client.sendmail("app@example.com", [to], content)
            return words

    async def bearer(self) -> str:
        account = self.account
        now = int(time.time())
        claims = {"iss": account["client_email"], "aud": account["token_uri"], "scope": min(SCOPES)}
        claims |= {"iat": now, "exp": now + 600}
        assertion = jwt.encode(claims, account["private_key"], algorithm="RS256")
        form = {"grant_type": GRANT, "assertion": assertion}
        async with self.session.post(account["token_uri"], data=form) as answer:
            said: dict[str, str] = await answer.json()
            return said["access_token"]

    async def push(self, token: str, *, bearer: str, seconds: float = 10) -> tuple[int, dict[str, Any], dict[str, str]]:
        url = f"http://127.0.0.1:{self.port}/v1/projects/{self.account['project_id']}/messages:send"
        body = {"message": {"token": token, "notification": {"title": "Hello"}}}
        async with self.session.post(
            url,
            json=body,
            headers={"Authorization": f"Bearer {bearer}"},
            timeout=aiohttp.ClientTimeout(total=seconds),
        ) as answer:
            return answer.status, await answer.json(), dict(answer.headers)


@contextlib.asynccontextmanager
async def simulated(kind: Any, *rules: Rule, folder: Path | None = None, **given: Any) -> AsyncIterator[Simulated]:
    """The whole tool but for its process."""
    account_file = (folder or Path()) / "account.json"
    simulation = Simulation(kind=kind, rules=rules, account_file=account_file, **given)
    listening = bind("127.0.0.1", 0)
    async with contextlib.AsyncExitStack() as stack:
        running = await stack.enter_async_context(build(simulation, listening).open())
        loops = [asyncio.ensure_future(loop()) for loop in running.loops.values()]
        stack.push_async_callback(_ended, loops)
        control = await stack.enter_async_context(serving(running.app))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        account = json.loads(account_file.read_text()) if kind == "fcm" else {}
        yield Simulated(listening.getsockname()[1], control, session, account)


async def left_alone(simulated: Simulated, asked: Coroutine[Any, Any, Any], to: str) -> dict[str, Any]:
    """What is written down of a message that nobody answers; its client then leaves."""
    asking = asyncio.create_task(asked)
    found = await eventually(lambda: simulated.received(f"?to={to}"), within=20, says="it is written down")
    assert not asking.done()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    entry: dict[str, Any] = found[0]
    return entry


async def _ended(loops: Sequence[asyncio.Future[None]]) -> None:
    for loop in loops:
        loop.cancel()
    await asyncio.gather(*loops, return_exceptions=True)
