"""The same journeys on both ways to run Carillon: one process on PostgreSQL, five processes on RabbitMQ."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.fakes.fcm import FakeFcm, fake_fcm
from tests.fakes.smtp import FakeSmtp, fake_smtp
from tests.support.client import Client, connected
from tests.support.collector import Collector, collector
from tests.support.platform import Platform, all_in_one, five_processes, towards
from tests.support.servers import PostgresServer, RabbitServer


@pytest.fixture(scope="session")
def smtp() -> Iterator[FakeSmtp]:
    with fake_smtp() as server:
        yield server


@pytest.fixture(autouse=True)
def ends_with_its_test(smtp: FakeSmtp) -> Iterator[None]:
    """Whom one test has refused, the next one reaches."""
    yield
    smtp.answers.clear()
    smtp.seconds_a_mail = 0.0


@pytest.fixture(scope="session")
def fcm() -> Iterator[FakeFcm]:
    with fake_fcm() as server:
        yield server


@pytest.fixture(scope="session")
def traces() -> Iterator[Collector]:
    with collector() as found:
        yield found


@pytest.fixture(scope="session")
def one_process(tmp_path_factory: pytest.TempPathFactory, smtp: FakeSmtp, fcm: FakeFcm) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("together")
    with all_in_one(folder, towards(smtp, fcm, folder)) as platform:
        yield platform


@pytest.fixture(scope="session")
def processes_apart(
    tmp_path_factory: pytest.TempPathFactory,
    smtp: FakeSmtp,
    fcm: FakeFcm,
    traces: Collector,
    postgres_server: PostgresServer,
    rabbitmq_server: RabbitServer,
) -> Iterator[Platform]:
    """All that can be observed is: traces are sent, and the log tells every step. The one process tells neither."""
    folder = tmp_path_factory.mktemp("apart")
    observed = {
        "CARILLON_OTLP_ENDPOINT": traces.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "CARILLON_LOG_LEVEL": "debug",
    }
    with five_processes(folder, towards(smtp, fcm, folder) | observed, postgres_server, rabbitmq_server) as platform:
        yield platform


@pytest.fixture(params=["one process on PostgreSQL", "five processes on RabbitMQ"])
def platform(request: pytest.FixtureRequest) -> Platform:
    """Both stay for the session: a parameter of the session's own would start them anew for every file."""
    name = "one_process" if request.param.startswith("one") else "processes_apart"
    platform: Platform = request.getfixturevalue(name)
    return platform


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[Client]:
    async with connected(platform) as client:
        yield client
