"""What every test of the gateway on real servers starts from."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.integration.gateway.house import Around, House, migrated, open_house
from tests.support.servers import PostgresServer


@pytest.fixture(scope="session")
def pattern(postgres_server: PostgresServer) -> Iterator[str]:
    with postgres_server.pattern(migrated) as dsn:
        yield dsn


@pytest.fixture
async def database(postgres_server: PostgresServer, pattern: str) -> AsyncIterator[str]:
    """A database with the gateway's tables and queues."""
    async with postgres_server.database(copy_of=pattern) as dsn:
        yield dsn


@pytest.fixture
def around(database: str) -> Around:
    around = Around(database)
    around.templates.publish("welcome")
    return around


@pytest.fixture
async def house(around: Around) -> AsyncIterator[House]:
    async with open_house(around) as house:
        yield house
