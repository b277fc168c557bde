"""A gateway on a real PostgreSQL with the real PostgreSQL broker, over real HTTP; only its neighbours are fakes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg
import msgspec

from carillon.contracts.channels import topology
from carillon.contracts.messages import DeliveryRequested
from carillon.gateway.app import Outside, migrate, running
from carillon.gateway.settings import GatewaySettings
from carillon.kit.broker.open import open_broker
from carillon.kit.broker.port import Broker, Delivery, Done, Outcome
from carillon.kit.broker.postgres.schema import migrate_broker
from carillon.kit.ids import uuid7
from carillon.kit.service import Loop, Running
from tests.support.http import serving
from tests.unit.gateway.neighbours import Callers, FakeContacts, FakeTemplates

SENDER = ("notifications:send",)


@dataclass
class Answer:
    status: int
    body: dict[str, Any]

    @property
    def data(self) -> Any:
        assert self.body["success"] is True, self.body
        return self.body["data"]


@dataclass
class Around:
    """What surrounds one gateway or several: shared by them as it would be in a cluster."""

    dsn: str
    contacts: FakeContacts = field(default_factory=FakeContacts)
    templates: FakeTemplates = field(default_factory=FakeTemplates)
    callers: Callers = field(default_factory=Callers)


@dataclass
class House:
    """One running gateway. Loops run only where a test starts them."""

    around: Around
    running: Running
    broker: Broker
    url: str
    session: aiohttp.ClientSession
    token: str
    sql: asyncpg.Connection

    async def call(self, method: str, path: str, *, token: str | None = None, json: Any = None) -> Answer:
        headers = {"Authorization": f"Bearer {token or self.token}"}
        async with self.session.request(method, f"/api/v1{path}", json=json, headers=headers) as answer:
            return Answer(answer.status, await answer.json())

    def body(self, **given: Any) -> dict[str, Any]:
        user_id = given.pop("user_id", None) or self.around.contacts.add()
        return {
            "notification_type": "email",
            "user_id": str(user_id),
            "template_code": "welcome",
            "variables": {"name": "Ada", "link": "https://example.com/x"},
            "request_id": uuid7().hex,
            **given,
        }

    async def post(self, body: dict[str, Any] | None = None, *, token: str | None = None) -> Answer:
        return await self.call("POST", "/notifications/", token=token, json=body or self.body())

    async def accepted(self, **given: Any) -> UUID:
        return UUID((await self.post(self.body(**given))).data["notification_id"])

    @contextlib.asynccontextmanager
    async def loop(self, name: str) -> AsyncIterator[None]:
        """Let one loop run, and drain it afterwards."""
        async with drained(self.running.loops[name]):
            yield

    async def count(self, table: str) -> int:
        return int(await self.sql.fetchval(f"SELECT count(*) FROM gateway.{table}"))

    async def messages(self, queue: str = "email.queue") -> list[DeliveryRequested]:
        rows = await self.sql.fetch("SELECT body FROM broker.messages WHERE queue = $1 ORDER BY seq", queue)
        return [msgspec.json.decode(row["body"], type=DeliveryRequested) for row in rows]


@contextlib.asynccontextmanager
async def drained(loop: Loop) -> AsyncIterator[None]:
    async def run() -> None:
        await loop()

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        task.cancel()
        async with asyncio.timeout(30):
            await asyncio.gather(task, return_exceptions=True)


async def done(deliveries: "list[Delivery]") -> list[Outcome]:
    return [Done()] * len(deliveries)


async def migrated(dsn: str) -> None:
    """Tables and queues in an empty database."""
    await migrate_broker(dsn)
    await migrate(settings_for(dsn))


def settings_for(dsn: str, **given: Any) -> GatewaySettings:
    return GatewaySettings(database_url=dsn, broker_url=dsn, token_file=Path("unused"), **given)


@contextlib.asynccontextmanager
async def open_house(around: Around, *, dsn: str = "", **settings: Any) -> AsyncIterator[House]:
    """A gateway that serves; several may stand around the same database. `dsn`: another way to it."""
    async with contextlib.AsyncExitStack() as stack:
        broker = await stack.enter_async_context(open_broker(around.dsn, topology(), name="test"))
        world = Outside(
            broker, around.contacts, around.templates, around.contacts, around.callers, tokens=around.callers
        )
        service = await stack.enter_async_context(running(settings_for(dsn or around.dsn, **settings), world))
        url = await stack.enter_async_context(serving(service.app, doors=service.doors))
        session = await stack.enter_async_context(
            aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=30))
        )
        sql = await asyncpg.connect(around.dsn, timeout=10, command_timeout=30)
        stack.push_async_callback(sql.close, timeout=5)
        yield House(around, service, broker, url, session, around.callers.token(*SENDER), sql)
