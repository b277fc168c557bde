"""The users service on a real PostgreSQL and its broker, over real HTTP."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from carillon.kit.broker.postgres.schema import migrate_broker
from carillon.kit.service import Running
from carillon.users.app import bootstrap, build, migrate
from carillon.users.settings import UsersSettings
from tests.integration.users.client import UsersApi
from tests.support.http import serving


@pytest.fixture
async def settings(database: str, tmp_path: Path) -> UsersSettings:
    """A migrated and founded database; limits are off, and each test that wants one sets it."""
    settings = UsersSettings(
        database_url=database,
        broker_url=database,
        signing_key_file=str(tmp_path / "signing_key.pem"),
        registrations_per_minute=0,
        logins_per_minute=0,
        failed_logins_per_minute=0,
    )
    await migrate_broker(database)
    await migrate(settings)
    await bootstrap(settings, tmp_path)
    return settings


@contextlib.asynccontextmanager
async def running(settings: UsersSettings, data_dir: Path) -> AsyncIterator[tuple[UsersApi, Running]]:
    """One process' worth of the service; its loops are the test's to run."""
    async with (
        build(settings).open() as service,
        serving(service.app) as url,
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
