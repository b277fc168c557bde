"""SIGTERM of each service in turn, while notifications flow through five services apart: what a roll does."""

import asyncio
import contextlib
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest

from tests.fakes.fcm import FakeFcm
from tests.fakes.smtp import FakeSmtp
from tests.support.balancer import balancing
from tests.support.client import Answer, Client, connected
from tests.support.platform import CARILLON, SERVICES, Platform, clean_environment, towards
from tests.support.processes import free_port
from tests.support.servers import PostgresServer, RabbitServer
from tests.support.waiting import eventually

GRACE_SECONDS = 40
BEFORE_AND_AFTER = 15
REPLICAS = ("users", "users_2", "templates", "templates_2", "gateway", "gateway_2", "email_worker", "push_worker")
"""Nobody asks a worker: its messages wait for it."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def service_of(replica: str) -> str:
    return replica.removesuffix("_2")


@pytest.fixture
def databases(postgres_server: PostgresServer) -> Iterator[dict[str, str]]:
    made = {name: asyncio.run(postgres_server.create_database()) for name in SERVICES}
    yield made
    for dsn in made.values():
        asyncio.run(postgres_server.drop_database(dsn))


@pytest.fixture
async def platform(
    tmp_path: Path, databases: dict[str, str], node: RabbitServer, smtp: FakeSmtp, fcm: FakeFcm
) -> AsyncIterator[Platform]:
    """Two of each service that others ask, each behind one address."""
    smtp.seconds_a_mail = 0.02
    urls = {name: f"http://127.0.0.1:{free_port()}" for name in REPLICAS}
    async with contextlib.AsyncExitStack() as stack:
        front = {
            name: (await stack.enter_async_context(balancing(urls[name], urls[f"{name}_2"]))).url
            for name in ("users", "templates", "gateway")
        }
        made = Platform(tmp_path / "data", front["gateway"], front["users"], front["templates"], tmp_path / "apart.log")
        shared = {**towards(smtp, fcm, tmp_path), **_wiring(made, databases), "CARILLON_BROKER_URL": node.url}
        migrate = [*CARILLON, "migrate", "--data-dir", str(made.data_dir)]
        environment = clean_environment(**shared)
        await asyncio.to_thread(subprocess.run, migrate, env=environment, check=True, timeout=120)
        for name, url in urls.items():
            own = {"CARILLON_PORT": url.rpartition(":")[2], "READY_URL": url}
            command = [*CARILLON, "run", service_of(name)]
            made.environments[f"{name} itself"] = (command, clean_environment(**shared, **own))
        try:
            await asyncio.to_thread(made.start, *made.environments)
            yield made
        finally:
            await asyncio.to_thread(made.stop)


def _wiring(platform: Platform, databases: dict[str, str]) -> dict[str, str]:
    folder = platform.data_dir
    return {
        "CARILLON_USERS_URL": platform.users,
        "CARILLON_TEMPLATES_URL": platform.templates,
        "CARILLON_GATEWAY_URL": platform.gateway,
        "CARILLON_PUBLIC_URL": platform.users,
        "CARILLON_SIGNING_KEY_FILE": str(folder / "signing_key.pem"),
        "CARILLON_ENCRYPTION_KEY_FILE": str(folder / "encryption.key"),
        **{f"CARILLON_{name.upper()}_DATABASE_URL": dsn for name, dsn in databases.items()},
        **{f"CARILLON_{name.upper()}_TOKEN_FILE": str(folder / f"tokens/{name}.token") for name in databases},
    }


@dataclass
class Traffic:
    """Mails and pushes in turn, one after the other, and questions to users and templates beside each."""

    client: Client
    user_id: str
    codes: dict[str, str]
    accepted: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    over: bool = False

    async def flow(self) -> None:
        while not self.over:
            for channel in ("email", "push"):
                answer = await self._answered(channel)
                if answer.status in {200, 202}:
                    self.accepted[answer.data["notification_id"]] = channel
                else:
                    self.failed.append(f"{channel}: {answer.status} {answer.body}")
            await self._look(f"{self.client.platform.users}/api/v1/users/{self.user_id}")
            await self._look(f"{self.client.platform.templates}/api/v1/templates/{self.codes['email']}")

    async def _answered(self, channel: str) -> Answer:
        """As a proxy does: what found a closed door goes to the next replica, with the same `request_id`."""
        request_id = uuid4().hex
        while True:
            with contextlib.suppress(aiohttp.ClientConnectionError):
                return await self.client.notify(self.user_id, self.codes[channel], channel, request_id=request_id)

    async def _look(self, url: str) -> None:
        while True:
            with contextlib.suppress(aiohttp.ClientConnectionError):
                answer = await self.client.call("GET", url, token=self.client.admin)
                if answer.status != 200:
                    self.failed.append(f"{url}: {answer.status} {answer.body}")
                return

    async def more(self) -> None:
        wanted = len(self.accepted) + BEFORE_AND_AFTER
        await eventually(lambda: len(self.accepted) >= wanted, within=60)


@contextlib.asynccontextmanager
async def flowing(traffic: Traffic) -> AsyncIterator[None]:
    """Whoever asks waits for the answer: what was accepted is known."""
    traffic.over = False
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(traffic.flow())
        try:
            yield
        finally:
            traffic.over = True


async def test_each_service_is_stopped_under_load_and_nobody_loses_anything(
    platform: Platform, smtp: FakeSmtp, fcm: FakeFcm
) -> None:
    async with connected(platform) as client:
        user = await client.register(push_token="bell")
        codes = {channel: await client.publish(channel) for channel in ("email", "push")}
        traffic = Traffic(client, user["user_id"], codes)
        for name in SERVICES:
            async with flowing(traffic):
                await traffic.more()
                await asyncio.to_thread(_stop, platform, f"{name} itself")
                await traffic.more()
            client.admin = await client.sign_in(
                platform.credentials["admin_email"], platform.credentials["admin_password"]
            )
            await asyncio.to_thread(platform.start, f"{name} itself")

        assert traffic.failed == []
        for notification_id in traffic.accepted:
            assert (await client.settled(notification_id, within=120))["status"] == "delivered"
    came = [mail.message["Message-ID"].strip("<>").partition("@")[0] for mail in smtp.mails]
    came += [push["data"]["notification_id"] for push in fcm.pushes]
    assert Counter(came) == dict.fromkeys(traffic.accepted, 1)


def _stop(platform: Platform, name: str) -> None:
    process, began = platform.processes[name], time.monotonic()
    process.terminate()
    assert process.wait(GRACE_SECONDS + 20) == 0, platform.tail()
    assert time.monotonic() - began < GRACE_SECONDS
