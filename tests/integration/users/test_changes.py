"""Changes travel: every process forgets what has changed, and nothing committed goes untold."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from carillon.contracts.channels import USERS_EVENTS, topology
from carillon.contracts.users import UserChanged, event_of
from carillon.kit.broker.open import open_broker
from carillon.kit.broker.port import Announced
from carillon.kit.service import Running
from carillon.users.settings import UsersSettings
from tests.integration.users.client import UsersApi
from tests.integration.users.conftest import running
from tests.support.waiting import eventually


@contextlib.asynccontextmanager
async def looping(service: Running, *names: str) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(service.loops[name]()) for name in names]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=10)
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                assert task.exception() is None


@pytest.fixture
async def heard(settings: UsersSettings) -> AsyncIterator[list[UserChanged]]:
    """Everything announced, once the subscription stands."""
    events: list[UserChanged] = []
    standing = asyncio.Event()

    async def listen() -> None:
        async with (
            open_broker(settings.broker_url, topology(), name="test") as broker,
            broker.subscribe(USERS_EVENTS) as arriving,
        ):
            async for event in arriving:
                if not isinstance(event, Announced):
                    standing.set()
                elif isinstance(told := event_of(event.body), UserChanged):
                    events.append(told)

    task = asyncio.create_task(listen())
    await asyncio.wait_for(standing.wait(), 10)
    yield events
    task.cancel()
    await asyncio.wait([task], timeout=10)


async def test_every_change_is_announced_with_its_version(
    settings: UsersSettings, tmp_path: Path, heard: list[UserChanged], sql: asyncpg.Connection
) -> None:
    async with running(settings, tmp_path) as (api, service), looping(service, "announce"):
        ada, token = await api.someone()
        for number in range(3):
            body = {"push_token": f"device-{number}"}
            await api.call("PUT", f"/v1/users/{ada['user_id']}/push_token", token=token, body=body)
        await eventually(lambda: len(heard) == 3)

        async def told() -> bool:
            return bool(await sql.fetchval("SELECT count(*) FROM users.outbox") == 0)

        await eventually(told)

    assert heard == [UserChanged(user_id=UUID(ada["user_id"]), version=version) for version in (2, 3, 4)]


async def test_what_was_committed_before_a_crash_is_announced_by_the_next_process(
    settings: UsersSettings, tmp_path: Path, heard: list[UserChanged]
) -> None:
    async with running(settings, tmp_path) as (api, _):
        ada, token = await api.someone()
        await api.call("PATCH", f"/v1/users/{ada['user_id']}/preferences", token=token, body={"email": False})

    async with running(settings, tmp_path) as (_, service), looping(service, "announce"):
        await eventually(lambda: heard == [UserChanged(user_id=UUID(ada["user_id"]), version=2)])


async def test_another_process_forgets_who_changed_here(settings: UsersSettings, tmp_path: Path) -> None:
    async with (
        running(settings, tmp_path) as (here, service),
        running(settings, tmp_path) as (there, elsewhere),
        looping(service, "announce", "listen"),
        looping(elsewhere, "announce", "listen"),
    ):
        ada, token = await here.someone()
        path = f"/v1/users/{ada['user_id']}/preferences"

        async def seen(api: UsersApi) -> bool:
            answer = await api.call("GET", path, token=token)
            taken: bool = answer.data["email"]
            return taken

        await eventually(lambda: seen(there))
        assert (await here.call("PATCH", path, token=token, body={"email": False})).status == 200

        assert await seen(here) is False, "where the change was made it is seen at once"

        async def seen_off() -> bool:
            return not await seen(there)

        await eventually(seen_off, within=5)


async def test_a_lease_that_lapsed_is_claimed_again_and_two_announcers_share(
    settings: UsersSettings, tmp_path: Path, heard: list[UserChanged], sql: asyncpg.Connection
) -> None:
    async with (
        running(settings, tmp_path) as (api, service),
        running(settings, tmp_path) as (_, elsewhere),
    ):
        ada, token = await api.someone()
        for _ in range(20):
            await api.call("PATCH", f"/v1/users/{ada['user_id']}/preferences", token=token, body={"email": False})
        await sql.execute("UPDATE users.outbox SET available_at = now() + interval '1 second'")

        async with looping(service, "announce"), looping(elsewhere, "announce"):
            await eventually(lambda: len(heard) == 20)

    assert sorted(event.version for event in heard) == list(range(2, 22))
