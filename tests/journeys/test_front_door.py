"""Two replicas of every service behind compose's own front door: one after the other is killed, no caller notices."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.fakes.fcm import FakeFcm
from tests.fakes.smtp import FakeSmtp
from tests.support.client import PASSWORD, Answer, Client, connected
from tests.support.nginx import front_door
from tests.support.platform import CARILLON, SERVICES, Platform, apart_environment, clean_environment, towards
from tests.support.processes import free_port
from tests.support.servers import PostgresServer, RabbitServer, RedisServer
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
APIS = ("users", "templates", "gateway")


@pytest.fixture(scope="module")
def doubled(
    tmp_path_factory: pytest.TempPathFactory,
    smtp: FakeSmtp,
    fcm: FakeFcm,
    postgres_server: PostgresServer,
    rabbitmq_server: RabbitServer,
    redis_server: RedisServer,
) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("doubled")
    door = free_port()
    url = f"http://127.0.0.1:{door}"
    platform = Platform(folder / "data", url, url, url, folder / "doubled.log")
    given = {**towards(smtp, fcm, folder), "CARILLON_REDIS_URL": redis_server.url}
    shared = apart_environment(platform, dict.fromkeys(SERVICES, url), given, postgres_server, rabbitmq_server)
    migrate = [*CARILLON, "migrate", "--data-dir", str(platform.data_dir)]
    subprocess.run(migrate, env=clean_environment(**shared), check=True, timeout=120)
    ports = {name: (free_port(), free_port()) for name in SERVICES}
    for name in SERVICES:
        for number, port in enumerate(ports[name], 1):
            own = {"CARILLON_PORT": str(port), "READY_URL": f"http://127.0.0.1:{port}"}
            platform.environments[f"{name}-{number}"] = ([*CARILLON, "run", name], clean_environment(**shared, **own))
    with front_door(folder / "proxy", door, {name: ports[name] for name in APIS}):
        try:
            platform.start(*platform.environments)
            yield platform
        finally:
            platform.stop()


@pytest.fixture
async def client(doubled: Platform) -> AsyncIterator[Client]:
    async with connected(doubled) as client:
        yield client


async def test_a_replica_of_each_is_killed_and_no_caller_notices(client: Client, smtp: FakeSmtp) -> None:
    platform, code = client.platform, await client.publish()
    user = await client.register()
    mine = await client.sign_in(user["email"], PASSWORD)
    accepted: list[str] = []

    def more_than(count: int) -> Callable[[], bool]:
        return lambda: len(accepted) > count

    async with _callers(client, user, mine, code, accepted):
        for replica in (f"{name}-{number}" for number in (1, 2) for name in SERVICES):
            platform.kill(replica)
            await eventually(more_than(len(accepted) + 20), within=60, says=f"callers go on without {replica}")
            await asyncio.to_thread(platform.start, replica)

    ended = [(await client.settled(each, within=90))["status"] for each in accepted]
    assert set(ended) == {"delivered"}
    assert len(smtp.to(user["email"])) >= len(accepted) == len(set(accepted))


async def test_a_batch_goes_through_the_door(client: Client) -> None:
    user, code = await client.register(), await client.publish()
    one = {
        "notification_type": "email",
        "user_id": user["user_id"],
        "template_code": code,
        "variables": {"name": "Ada", "link": "https://example.com/x"},
    }
    body = {"notifications": [{**one, "request_id": uuid4().hex} for _ in range(3)]}

    answer = await client.call(
        "POST", f"{client.platform.gateway}/v1/notifications/batch/", token=client.application, json=body
    )

    assert answer.status in {200, 202, 207}, answer.body
    assert answer.body["success"] is True


@pytest.mark.parametrize("path", ["/metrics", "/health", "/ready", "/api/v1/unknown"])
async def test_the_door_shows_nothing_else(client: Client, path: str) -> None:
    answer = await client.call("GET", client.platform.gateway + path)

    assert (answer.status, answer.body["error"]) == (404, "not_found")


@contextlib.asynccontextmanager
async def _callers(
    client: Client, user: dict[str, Any], mine: str, code: str, accepted: list[str]
) -> AsyncIterator[None]:
    """Callers without pause, of whom none hears anything but a success; a failure ends the test."""
    users, templates = client.platform.users, client.platform.templates
    user_id, email = user["user_id"], user["email"]

    async def send() -> Answer:
        answer = await client.notify(user_id, code)
        accepted.append(answer.data["notification_id"])
        return answer

    async def prefer() -> Answer:
        url = f"{users}/api/v1/users/{user_id}/preferences"
        return await client.call("PUT", url, token=mine, json={"email": True, "push": True})

    calls = (
        send,
        prefer,
        lambda: client.call(
            "PATCH", f"{users}/api/v1/users/{user_id}", token=mine, json={"name": f"Ada {uuid4().hex}"}
        ),
        lambda: client.call("POST", f"{users}/api/v1/auth/login", json={"email": email, "password": PASSWORD}),
        lambda: client.call("GET", f"{users}/api/v1/users/me", token=mine),
        lambda: client.call("GET", f"{templates}/api/v1/templates/{code}", token=client.admin),
        lambda: client.call("GET", f"{client.platform.gateway}/api/v1/notifications", token=client.application),
    )

    async def go_on(number: int) -> None:
        while True:
            answer = await calls[number]()
            assert answer.status < 300, answer.body
            await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(go_on(number)) for number in range(len(calls))]
        yield
        for task in tasks:
            task.cancel()
