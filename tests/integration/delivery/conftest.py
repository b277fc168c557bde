"""A worker's schema in a fresh PostgreSQL, and its neighbours on loopback."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from carillon.email_worker.app import migrate
from carillon.email_worker.settings import EmailWorkerSettings
from carillon.kit.broker.postgres.schema import migrate_broker
from tests.fakes.smtp import FakeSmtp, fake_smtp
from tests.integration.delivery.house import House, house


@pytest.fixture
async def migrated(database: str) -> str:
    """The DSN of a database with the e-mail worker's schema."""
    await migrate(EmailWorkerSettings(database_url=database, broker_url=database, token_file=Path("unused")))
    return database


@pytest.fixture
async def smtp() -> AsyncIterator[FakeSmtp]:
    with fake_smtp() as server:
        yield server


@pytest.fixture
async def neighbours(migrated: str, smtp: FakeSmtp, tmp_path: Path) -> AsyncIterator[House]:
    await migrate_broker(migrated)
    async with house(migrated, smtp, tmp_path) as built:
        yield built
