"""The same journeys on both ways to run Carillon: one process on PostgreSQL, five processes on RabbitMQ."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.fakes.fcm import FakeFcm, fake_fcm
from tests.fakes.smtp import FakeSmtp, fake_smtp
from tests.support.client import Client, connected
from tests.support.platform import Platform, all_in_one, five_processes, towards


@pytest.fixture(scope="session")
def smtp() -> Iterator[FakeSmtp]:
    with fake_smtp() as server:
        yield server


@pytest.fixture(scope="session")
def fcm() -> Iterator[FakeFcm]:
    with fake_fcm() as server:
        yield server


@pytest.fixture(scope="session", params=["one process on PostgreSQL", "five processes on RabbitMQ"])
def platform(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, smtp: FakeSmtp, fcm: FakeFcm
) -> Iterator[Platform]:
    folder: Path = tmp_path_factory.mktemp("carillon")
    environment = towards(smtp, fcm, folder)
    with contextlib.ExitStack() as stack:
        if request.param.startswith("one"):
            yield stack.enter_context(all_in_one(folder, environment))
        else:
            postgres = request.getfixturevalue("postgres_server")
            rabbitmq = request.getfixturevalue("rabbitmq_server")
            yield stack.enter_context(five_processes(folder, environment, postgres, rabbitmq))


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[Client]:
    async with connected(platform) as client:
        yield client
