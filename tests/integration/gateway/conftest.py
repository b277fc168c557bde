"""What every test of the gateway on real servers starts from."""

from collections.abc import AsyncIterator, Iterator

import pytest

from carillon.gateway.store.session import steady
from carillon.kit.database import Database, open_database
from tests.integration.gateway.crowds import HERALD
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


@pytest.fixture
def herald(around: Around) -> str:
    """A token that may begin broadcasts."""
    return around.callers.token(*HERALD)


@pytest.fixture
async def ours(around: Around) -> AsyncIterator[Database]:
    """A connection as the gateway's own."""
    async with open_database(steady(around.dsn), name="ours") as ours:
        yield ours
