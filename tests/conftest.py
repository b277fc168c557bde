"""Servers that tests can ask for; each starts when the first test wants it and stops with the session."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support import servers


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
    dsn = await postgres_server.create_database()
    yield dsn
    await postgres_server.drop_database(dsn)
