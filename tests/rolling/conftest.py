"""Servers of these tests' own: other platforms of the session read the queues of the shared node."""

from collections.abc import Iterator

import pytest

from tests.fakes.fcm import FakeFcm, fake_fcm
from tests.fakes.smtp import FakeSmtp, fake_smtp
from tests.support import servers


@pytest.fixture(scope="session")
def node() -> Iterator[servers.RabbitServer]:
    with servers.rabbitmq_server() as server:
        yield server


@pytest.fixture
def smtp() -> Iterator[FakeSmtp]:
    with fake_smtp() as server:
        yield server


@pytest.fixture
def fcm() -> Iterator[FakeFcm]:
    with fake_fcm() as server:
        yield server
