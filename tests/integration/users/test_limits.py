"""Limits over HTTP: by caller and by address, behind trusted proxies or not, with Redis and without."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from carillon.kit.settings import SettingsError
from carillon.users.app import build
from carillon.users.settings import UsersSettings
from tests.integration.users.client import PASSWORD, UsersApi
from tests.integration.users.conftest import running
from tests.support import servers
from tests.support.waiting import eventually

FORGED = [
    {"X-Forwarded-For": "198.51.100.7"},
    {"X-Forwarded-For": "198.51.100.8, 127.0.0.1"},
    {"X-Real-IP": "198.51.100.9"},
    {"Forwarded": "for=198.51.100.10"},
    {"Client-IP": "198.51.100.11", "True-Client-IP": "198.51.100.11", "CF-Connecting-IP": "198.51.100.11"},
]


async def log_in_from(api: UsersApi, headers: dict[str, str]) -> int:
    body = {"email": "nobody@example.com", "password": PASSWORD}
    async with api.session.post("/v1/auth/login", json=body, headers=headers) as answer:
        assert (await answer.json())["success"] is False
        return answer.status


async def test_a_forged_header_changes_nothing(settings: UsersSettings, tmp_path: Path) -> None:
    """Neither without trusted proxies, nor where those that are trusted are others."""
    for proxies in ((), ("10.0.0.0/8", "2001:db8::/32")):
        limited = msgspec.structs.replace(settings, logins_per_minute=2, trusted_proxies=proxies)
        async with running(limited, tmp_path) as (api, _):
            assert [await log_in_from(api, {}) for _ in range(2)] == [401, 401]

            assert [await log_in_from(api, headers) for headers in FORGED] == [429] * len(FORGED)


async def test_behind_a_trusted_proxy_each_client_has_a_limit_of_its_own(
    settings: UsersSettings, tmp_path: Path
) -> None:
    limited = msgspec.structs.replace(settings, logins_per_minute=2, trusted_proxies=("127.0.0.0/8",))
    async with running(limited, tmp_path) as (api, _):

        async def twice_and_again(*said: str) -> list[int]:
            return [await log_in_from(api, {"X-Forwarded-For": text}) for text in said]

        assert await twice_and_again(*["198.51.100.1"] * 3) == [401, 401, 429]
        assert await twice_and_again(*["198.51.100.2"] * 3) == [401, 401, 429]
        spoofed = ("1.1.1.1, 198.51.100.2", "2.2.2.2,198.51.100.2:7", "garbage, 198.51.100.2, 127.0.0.9")
        assert await twice_and_again(*spoofed) == [429] * 3, "what a client says of itself is not believed"
        of_one_network = ("2001:db8::1", "[2001:db8::2]", "[2001:db8::3]:443")
        assert await twice_and_again(*of_one_network) == [401, 401, 429]
        assert await twice_and_again("x", "", "unknown") == [401, 401, 429], "garbage counts against the proxy"


def test_a_proxy_that_is_no_network_stops_the_service_before_it_opens(settings: UsersSettings) -> None:
    with pytest.raises(SettingsError, match=r"CARILLON_TRUSTED_PROXIES: .*10\.0\.0\.1/8"):
        build(msgspec.structs.replace(settings, trusted_proxies=("10.0.0.1/8",)))


async def test_a_callers_limit_is_shared_in_redis_and_counted_in_each_process_while_it_is_gone(
    settings: UsersSettings, tmp_path: Path, redis_server: servers.RedisServer
) -> None:
    limited = msgspec.structs.replace(settings, redis_url=redis_server.url, requests_per_minute=6)
    async with running(limited, tmp_path) as (one, _), running(limited, tmp_path) as (two, _):
        _, token = await one.someone()

        async def statuses(*apis: UsersApi) -> list[int]:
            return [(await api.call("GET", "/v1/users/me", token=token)).status for api in apis]

        assert await statuses(*(one, two) * 4) == [200] * 6 + [429] * 2

        redis_server.kill()
        try:
            assert await statuses(*(one,) * 7) == [200] * 6 + [429]
            assert await statuses(*(two,) * 7) == [200] * 6 + [429]
        finally:
            redis_server.start()

        async def together_again() -> bool:
            _, fresh = await one.someone()
            answers: list[Any] = [
                await api.call("GET", "/v1/users/me", token=fresh) for api in (one, two, one, two, one, two, one)
            ]
            return [answer.status for answer in answers] == [200] * 6 + [429]

        await eventually(together_again, within=15, every=0.5, says="the count is shared again")


async def test_registrations_are_cut_and_never_unlimited_while_redis_is_gone(
    settings: UsersSettings, tmp_path: Path, redis_server: servers.RedisServer
) -> None:
    limited = msgspec.structs.replace(settings, redis_url=redis_server.url, registrations_per_minute=8)
    async with running(limited, tmp_path) as (api, _):
        redis_server.kill()
        try:
            answers = [await api.register() for _ in range(4)]
        finally:
            redis_server.start()

    assert [answer.status for answer in answers] == [201, 201, 429, 429]
    assert answers[-1].headers["RateLimit-Policy"] == '"registrations";q=2;w=60'


async def test_look_ups_from_memory_are_counted_too(settings: UsersSettings, tmp_path: Path) -> None:
    async with running(msgspec.structs.replace(settings, requests_per_minute=5), tmp_path) as (api, _):
        ada, token = await api.someone()
        path = f"/v1/users/{ada['user_id']}/preferences"

        answers = [await api.call("GET", path, token=token) for _ in range(6)]

    assert [answer.status for answer in answers] == [200] * 5 + [429]
    assert answers[0].headers["RateLimit"].startswith('"requests";r=4;')
