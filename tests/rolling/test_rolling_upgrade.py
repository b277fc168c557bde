"""A roll: the release before and this one at once, on one database and one broker, before and after the migration."""

import asyncio
import contextlib
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.fcm import FakeFcm
from tests.fakes.smtp import FakeSmtp
from tests.support.client import Client, connected
from tests.support.platform import CARILLON, SERVICES, Platform, clean_environment, towards
from tests.support.processes import free_port
from tests.support.releases import Release, release_before, revisions
from tests.support.servers import PostgresServer, RabbitServer

COUNT = 20
SOURCE = Path(__file__).parents[2] / "src"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass
class Roll:
    """Each release asks the users and templates services of the other one; `before` and `now` share everything else."""

    release: Release
    before: Platform
    now: Platform
    shared: dict[str, str]

    def carillon(self, *arguments: str, of: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        command = [*CARILLON, *arguments, "--data-dir", str(self.now.data_dir)]
        environment = clean_environment(**self.shared, **(of or {}))
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture
def roll(
    tmp_path: Path, postgres_server: PostgresServer, node: RabbitServer, smtp: FakeSmtp, fcm: FakeFcm
) -> Iterator[Roll]:
    """The schema as the release before made it; no process yet."""
    release = release_before(tmp_path / "before")
    before, now = (_platform(tmp_path, name) for name in ("old", "new"))
    databases = {name: asyncio.run(postgres_server.create_database()) for name in SERVICES}
    shared = {
        **towards(smtp, fcm, tmp_path),
        "CARILLON_BROKER_URL": node.url,
        "CARILLON_SIGNING_KEY_FILE": str(before.data_dir / "signing_key.pem"),
        "CARILLON_ENCRYPTION_KEY_FILE": str(before.data_dir / "encryption.key"),
        **{f"CARILLON_{name.upper()}_DATABASE_URL": dsn for name, dsn in databases.items()},
        **{f"CARILLON_{name.upper()}_TOKEN_FILE": str(before.data_dir / f"tokens/{name}.token") for name in SERVICES},
        **_neighbours(before),
    }
    made = Roll(release, before, now, shared)
    _wire(before, {**shared, **_neighbours(now), **release.environment})
    _wire(now, {**shared, **_neighbours(before)})
    migrated = made.carillon("migrate", of=release.environment)
    assert migrated.returncode == 0, migrated.stderr
    try:
        yield made
    finally:
        with contextlib.ExitStack() as stack:
            stack.callback(before.stop)
            stack.callback(now.stop)
        for dsn in databases.values():
            asyncio.run(postgres_server.drop_database(dsn))


def _platform(folder: Path, name: str) -> Platform:
    gateway, users, templates = (f"http://127.0.0.1:{free_port()}" for _ in range(3))
    return Platform(folder / "data", gateway, users, templates, folder / f"{name}.log")


def _neighbours(platform: Platform) -> dict[str, str]:
    return {
        "CARILLON_USERS_URL": platform.users,
        "CARILLON_TEMPLATES_URL": platform.templates,
        "CARILLON_GATEWAY_URL": platform.gateway,
        "CARILLON_PUBLIC_URL": platform.users,
    }


def _wire(platform: Platform, environment: dict[str, str]) -> None:
    worker = f"http://127.0.0.1:{free_port()}"
    addresses = {"users": platform.users, "templates": platform.templates, "gateway": platform.gateway}
    for name, url in {**addresses, "email_worker": worker}.items():
        own = {"CARILLON_PORT": url.rpartition(":")[2], "READY_URL": url}
        platform.environments[name] = ([*CARILLON, "run", name], clean_environment(**environment, **own))


async def send_through_both(old: Client, new: Client, count: int = COUNT) -> list[str]:
    """To people whom one release registered, with words that the other published, through the gateways in turn."""
    people = [await each.register() for each in (old, new)]
    codes = [await each.publish() for each in (new, old)]
    ids = []
    for number in range(count):
        gateway = (old, new)[number % 2]
        answer = await gateway.notify(people[number // 2 % 2]["user_id"], codes[number // 4 % 2])
        assert answer.status == 202, answer.body
        ids.append(answer.data["notification_id"])
    return ids


async def settle(ids: list[str], *clients: Client) -> None:
    """Each gateway knows how each ended."""
    for number, each in enumerate(ids):
        assert (await clients[number % len(clients)].settled(each, within=60))["status"] == "delivered"


async def test_a_roll_loses_nothing_whichever_release_took_it_and_whichever_sends_it(
    roll: Roll, smtp: FakeSmtp
) -> None:
    differs = roll.release.revisions() != revisions(SOURCE)
    apis = ("users", "templates", "gateway")
    await asyncio.to_thread(roll.before.start, *apis)
    await asyncio.to_thread(roll.now.start, *apis, "email_worker")
    async with connected(roll.before) as old, connected(roll.now) as new:
        # This code on the schema of before; what the old gateway takes, the new worker sends.
        ids = await send_through_both(old, new)
        await settle(ids, new, old)
        assert (await asyncio.to_thread(roll.carillon, "migrate", "--check")).returncode == int(differs)

        # The migration, while requests keep coming.
        migrating = asyncio.create_task(asyncio.to_thread(roll.carillon, "migrate"))
        while not migrating.done():
            ids += await send_through_both(old, new, 4)
        assert migrating.result().returncode == 0, migrating.result().stderr
        checked = await asyncio.to_thread(roll.carillon, "migrate", "--check")
        assert (checked.returncode, checked.stdout) == (0, "Every schema is as this release needs it.\n")
        ids += await send_through_both(old, new)
        await settle(ids, old, new)

        # The release before, started afresh on the new schema, as in a roll-back; its worker sends what both take.
        await asyncio.to_thread(_end, roll.now, "email_worker")
        await asyncio.to_thread(_end, roll.before, "gateway")
        await asyncio.to_thread(roll.before.start, "gateway", "email_worker")
        ids += await send_through_both(old, new)
        await settle(ids, new, old)

    received = Counter(mail.message["Message-ID"].strip("<>").partition("@")[0] for mail in smtp.mails)
    assert received == dict.fromkeys(ids, 1)


def _end(platform: Platform, name: str) -> None:
    platform.processes[name].terminate()
    assert platform.processes[name].wait(40) == 0
