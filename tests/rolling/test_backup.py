"""The commands of the how-to bring a destroyed Carillon back: everything as it was, and nothing sent twice."""

import asyncio
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from carillon.kit.database import open_database
from carillon.kit.embedded_postgres.binaries import find_binaries
from carillon.kit.migrations import migrate, trouble_with
from tests.documents.reading import document
from tests.fakes.fcm import FakeFcm
from tests.fakes.smtp import FakeSmtp
from tests.support.client import Client, connected
from tests.support.platform import CARILLON, SERVICES, Platform, clean_environment, towards
from tests.support.processes import free_port
from tests.support.servers import PostgresServer
from tests.support.waiting import eventually

BACK_UP, RESTORE = (block.text for block in document("docs/howto/backup.md").blocks("sh"))
COUNT = 5
USER = UUID(int=7)
SOURCES = Path(__file__).parents[2] / "src/carillon"
BINARIES = find_binaries().postgres.parent
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def platform(tmp_path: Path, smtp: FakeSmtp, fcm: FakeFcm) -> Iterator[Platform]:
    """`carillon up`, with its state where the how-to has it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    made = Platform(tmp_path / ".carillon", url, url, url, tmp_path / "up.log")
    command = [*CARILLON, "up", "--port", str(port), "--data-dir", str(made.data_dir)]
    made.environments["up"] = (command, clean_environment(**towards(smtp, fcm, tmp_path), READY_URL=url))
    try:
        made.start("up")
        yield made
    finally:
        made.stop()


async def waiting(client: Client, notification_id: str) -> bool:
    return bool((await client.notification(notification_id))["stage"] == "retrying")


async def accept(client: Client, user_id: str, code: str) -> list[str]:
    answers = [await client.notify(user_id, code, request_id=f"{code}-{number}") for number in range(COUNT)]
    assert {answer.status for answer in answers} == {202}
    return [answer.data["notification_id"] for answer in answers]


async def test_what_is_restored_is_as_it_was_and_goes_on_where_it_stopped(
    platform: Platform, smtp: FakeSmtp, tmp_path: Path
) -> None:
    async with connected(platform) as client:
        user, code = await client.register(), await client.publish()
        sent = await accept(client, user["user_id"], code)
        for each in sent:
            assert (await client.settled(each))["status"] == "delivered"
        smtp.stop()
        later = await client.publish()
        held = await accept(client, user["user_id"], later)
        await eventually(lambda: waiting(client, held[0]), within=30)
        token = client.application

    await asyncio.to_thread(platform.stop)
    _shell(BACK_UP, tmp_path)
    await asyncio.to_thread(_destroy, platform)
    _shell(RESTORE, tmp_path)
    smtp.start()
    await asyncio.to_thread(platform.start, "up")

    async with connected(platform) as client:
        assert client.application == token
        again = await client.notify(user["user_id"], code, request_id=f"{code}-0")
        assert (again.status, again.data["notification_id"], again.data["status"]) == (200, sent[0], "delivered")
        for each in held:
            assert (await client.settled(each, within=60))["status"] == "delivered"
        fresh = await accept(client, user["user_id"], await client.publish())
        for each in fresh:
            assert (await client.settled(each, within=60))["status"] == "delivered"
    came = [mail.message["Message-ID"].strip("<>").partition("@")[0] for mail in smtp.mails]
    assert Counter(came) == dict.fromkeys([*sent, *held, *fresh], 1)


async def test_dumps_of_the_services_are_restored_into_an_empty_database(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    async with postgres_server.database() as dsn, postgres_server.database() as empty:
        for name in SERVICES:
            await migrate(dsn, name, SOURCES / name / "migrations")
        async with open_database(dsn, name="gateway") as database:
            await database.execute("INSERT INTO gateway.erased_users (user_id) VALUES ($1)", USER)

        for name in ("gateway", "users", "templates", "email_worker", "push_worker"):
            dump = str(tmp_path / name)
            await _program("pg_dump", "--format", "custom", "--schema", name, "--file", dump, dsn)
            await _program("pg_restore", "--no-owner", "--exit-on-error", "--dbname", empty, dump)

        folders = {name: SOURCES / name / "migrations" for name in SERVICES}
        assert [await trouble_with(empty, name, folder) for name, folder in folders.items()] == [""] * len(SERVICES)
        async with open_database(empty, name="gateway") as database:
            assert await database.fetchval("SELECT user_id FROM gateway.erased_users") == USER


async def _program(name: str, *arguments: str) -> None:
    """One that comes with the embedded PostgreSQL."""
    command = [str(BINARIES / name), *arguments]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()


def _shell(commands: str, folder: Path) -> None:
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", commands], cwd=folder, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()


def _destroy(platform: Platform) -> None:
    """The disk is gone: the state folder, and the data beside it where root keeps it."""
    data = (platform.data_dir / "postgres").resolve()
    shutil.rmtree(platform.data_dir)
    shutil.rmtree(data, ignore_errors=True)
    assert not data.exists()
