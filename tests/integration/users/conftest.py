"""The users service on a real PostgreSQL and its broker, over real HTTP."""

import contextlib
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from carillon.kit.broker.postgres.schema import migrate_broker
from carillon.kit.service import Running
from carillon.users.app import bootstrap, build, migrate
from carillon.users.settings import UsersSettings
from tests.integration.users.client import UsersApi
from tests.support import servers
from tests.support.http import serving


@pytest.fixture(scope="session")
def founded(
    postgres_server: servers.PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """A migrated and founded database with its files, to be copied by each test that wants one."""
    folder = tmp_path_factory.mktemp("founded")

    async def found(dsn: str) -> None:
        await migrate_broker(dsn)
        await migrate(_settings(dsn, folder))
        await bootstrap(_settings(dsn, folder), folder)

    with postgres_server.pattern(found) as dsn:
        yield dsn, folder


@pytest.fixture
async def database(postgres_server: servers.PostgresServer, founded: tuple[str, Path]) -> AsyncIterator[str]:
    """A copy of the founded database."""
    async with postgres_server.database(copy_of=founded[0]) as dsn:
        yield dsn


@pytest.fixture
def settings(database: str, founded: tuple[str, Path], tmp_path: Path) -> UsersSettings:
    """Limits are off, and each test that wants one sets it."""
    shutil.copytree(founded[1], tmp_path, dirs_exist_ok=True)
    return _settings(database, tmp_path)


def _settings(dsn: str, folder: Path) -> UsersSettings:
    return UsersSettings(
        database_url=dsn,
        broker_url=dsn,
        signing_key_file=str(folder / "signing_key.pem"),
        encryption_key_file=str(folder / "encryption.key"),
        token_file=folder / "tokens" / "users.token",
        registrations_per_minute=0,
        logins_per_minute=0,
        failed_logins_per_minute=0,
        account_mails_per_minute=0,
    )


@contextlib.asynccontextmanager
async def running(settings: UsersSettings, data_dir: Path) -> AsyncIterator[tuple[UsersApi, Running]]:
    """One process' worth of the service; its loops are the test's to run."""
    async with (
        build(settings).open() as service,
        serving(service.app, shortcuts=service.shortcuts) as url,
        aiohttp.ClientSession(url) as session,
    ):
        yield UsersApi(session, data_dir), service


@pytest.fixture
async def api(settings: UsersSettings, tmp_path: Path) -> AsyncIterator[UsersApi]:
    async with running(settings, tmp_path) as (api, _):
        yield api


@pytest.fixture
async def sql(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database, timeout=10)
    yield connection
    await connection.close(timeout=5)
