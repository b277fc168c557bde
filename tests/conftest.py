"""Servers that tests can ask for; each starts when the first test wants it and stops with the session."""

import shutil
from collections.abc import AsyncIterator, Iterator

import hypothesis
import pytest

from carillon.kit.embedded_postgres.home import SHELTERS, read_owner
from tests.support import servers

# A busy machine is no bug: examples have no deadline, as on CI.
hypothesis.settings.register_profile(
    "unhurried",
    parent=hypothesis.settings(),
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("unhurried")


@pytest.fixture(scope="session", autouse=True)
def leave_no_home_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """As root a cluster lives outside its data folder, 40 MB of it each, and would stay when that folder goes."""
    yield
    ours = tmp_path_factory.getbasetemp().resolve()
    for home in (home for shelter in SHELTERS for home in shelter.glob("*")):
        owner = read_owner(home)
        if owner is not None and owner.data_dir.is_relative_to(ours):
            shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[servers.PostgresServer]:
    with servers.postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[servers.RabbitServer]:
    with servers.rabbitmq_server() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[servers.RedisServer]:
    with servers.redis_server() as server:
        yield server


@pytest.fixture
async def database(postgres_server: servers.PostgresServer) -> AsyncIterator[str]:
    """Give the DSN of a fresh database, dropped after the test."""
    async with postgres_server.database() as dsn:
        yield dsn
