"""What still works when something is gone, and that everything works again when it is back."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from carillon.kit.service import Running
from carillon.users.settings import UsersSettings
from tests.integration.users.client import UsersApi
from tests.integration.users.conftest import running
from tests.support import servers
from tests.support.waiting import eventually


async def ready(api: UsersApi) -> bool:
    return (await api.call("GET", "/ready")).status == 200


async def test_without_its_database_the_service_stands_answers_what_it_knows_and_recovers(
    settings: UsersSettings, tmp_path: Path, postgres_server: servers.PostgresServer
) -> None:
    hasty = msgspec.structs.replace(settings, cache_seconds=0, database_pool=1)
    async with running(hasty, tmp_path) as (api, _):
        ada, token = await api.someone()
        bob, fresh = await api.someone()
        path = f"/v1/users/{ada['user_id']}/preferences"
        kept = (await api.call("GET", path, token=token)).data

        postgres_server.kill()
        try:

            async def away() -> bool:
                return not await ready(api)

            await eventually(away, within=15, says="the last backend notices that its postmaster is gone")
            stale = await api.call("GET", path, token=token)
            assert (stale.status, stale.data, stale.body["message"]) == (200, kept, "stale")
            assert stale.headers["Warning"].startswith("110")
            for answer in (
                await api.call("GET", f"/v1/users/{bob['user_id']}/preferences", token=fresh),
                await api.call("PATCH", path, token=token, body={"email": False}),
                await api.call("GET", "/v1/users/me", token=token),
                await api.call("GET", "/v1/auth/sessions", token=token),
                await api.call("POST", "/v1/auth/logout", token=token, body={}),
                await api.call(
                    "POST", "/v1/auth/introspect", token=api.service_token("gateway"), body={"token": token}
                ),
                await api.log_in(ada["email"]),
                await api.register(),
            ):
                assert (answer.status, answer.body["error"]) == (503, "unavailable")
                assert answer.headers["Retry-After"]
                assert "postgres" not in str(answer.body).lower()
            health = await api.call("GET", "/health")
            assert (health.status, health.data["status"]) == (200, "degraded")
            assert health.data["dependencies"]["database"]["without"]
        finally:
            postgres_server.start()

        await eventually(lambda: ready(api), within=15)
        assert (await api.call("GET", path, token=token)).data == kept
        assert (await api.log_in(ada["email"])).status == 200


async def test_limits_are_shared_in_redis_and_login_limits_are_cut_while_it_is_gone(
    settings: UsersSettings, tmp_path: Path, redis_server: servers.RedisServer
) -> None:
    shared = msgspec.structs.replace(settings, redis_url=redis_server.url, failed_logins_per_minute=8)
    async with running(shared, tmp_path) as (one, _), running(shared, tmp_path) as (two, _):
        guesses = [await api.log_in("ada@example.com", "x" * 9) for api in (one, two) for _ in range(6)]
        assert [answer.status for answer in guesses] == [401] * 8 + [429] * 4
        assert (await one.call("GET", "/health")).data["dependencies"]["redis"]["status"] == "ok"

        redis_server.kill()
        try:
            guesses = [await one.log_in("bob@example.com", "x" * 9) for _ in range(4)]
            assert [answer.status for answer in guesses] == [401] * 2 + [429] * 2
            assert (await one.register()).status == 201
            assert (await one.call("GET", "/health")).data["dependencies"]["redis"]["status"] == "away"
            assert await ready(one), "nothing that must be there is away"
        finally:
            redis_server.start()


@pytest.mark.parametrize("loop", ["announce", "listen", "tidy", "note_used", "watch_keys"])
async def test_the_loops_stop_when_they_are_told_to(settings: UsersSettings, tmp_path: Path, loop: str) -> None:
    async with running(settings, tmp_path) as (_, service):
        task = await _begun(service, loop)

        task.cancel()

        await asyncio.wait([task], timeout=5)
        assert task.cancelled()


async def _begun(service: Running, loop: str) -> "asyncio.Future[None]":
    task = asyncio.ensure_future(service.loops[loop]())
    done, _ = await asyncio.wait([task], timeout=0.3)
    assert not done
    return task
