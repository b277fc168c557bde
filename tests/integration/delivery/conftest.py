"""A worker's schema in a fresh PostgreSQL, and its neighbours on loopback."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from carillon.email_worker.app import migrate
from carillon.email_worker.settings import EmailWorkerSettings
from carillon.kit.broker.postgres.schema import migrate_broker
from tests.fakes.smtp import FakeSmtp, fake_smtp
from tests.integration.delivery.house import House, house
from tests.support.servers import PostgresServer


@pytest.fixture(scope="session")
def pattern(postgres_server: PostgresServer) -> Iterator[str]:
    async def prepare(dsn: str) -> None:
        await migrate(EmailWorkerSettings(database_url=dsn, broker_url=dsn, token_file=Path("unused")))
        await migrate_broker(dsn)

    with postgres_server.pattern(prepare) as dsn:
        yield dsn


@pytest.fixture
async def migrated(postgres_server: PostgresServer, pattern: str) -> AsyncIterator[str]:
    """The DSN of a database with the e-mail worker's schema, and with queues."""
    async with postgres_server.database(copy_of=pattern) as dsn:
        yield dsn


@pytest.fixture
async def smtp() -> AsyncIterator[FakeSmtp]:
    with fake_smtp() as server:
        yield server


@pytest.fixture
async def neighbours(migrated: str, smtp: FakeSmtp, tmp_path: Path) -> AsyncIterator[House]:
    async with house(migrated, smtp, tmp_path) as built:
        yield built
