"""The FCM provider over HTTP against the simulator, which refuses what FCM refuses."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from carillon.contracts.users import DeviceGone
from carillon.delivery.domain import Accepted, Failed, ProviderAnswer, Refused
from carillon.kit.http.client import ServiceUnavailable, open_session
from carillon.kit.ids import uuid7
from carillon.kit.settings import SettingsError
from carillon.push_worker.app import build
from carillon.push_worker.channel import Push
from carillon.push_worker.providers.fcm import FcmProvider
from carillon.push_worker.providers.oauth import AccessTokens, AuthenticationFailed, read_service_account
from carillon.push_worker.settings import PushWorkerSettings
from carillon.simulators import actions, fcm
from carillon.simulators.service_account import ensure_service_account, load_public_key
from carillon.simulators.service_account import read_service_account as read_theirs
from tests.support.http import serving
from tests.support.peers import peer

USER = uuid7()
MESSAGE: dict[str, Any] = {"notification": {"title": "Hello"}}


@dataclass
class Phones:
    """The simulator and a provider that talks to it; `clock` is the simulator's."""

    provider: FcmProvider
    tokens: AccessTokens
    theirs: actions.AccessTokens
    pushes: list[actions.Push]
    gone: list[DeviceGone] = field(default_factory=list)
    users_away: bool = False

    async def send(self, *tokens: str, **message: Any) -> ProviderAnswer:
        return await self.provider.send(Push(USER, tokens, {**MESSAGE, **message}))

    async def device_gone(self, device: DeviceGone) -> None:
        if self.users_away:
            raise ServiceUnavailable("users: 503")
        self.gone.append(device)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session() as opened:
        yield opened


@pytest.fixture
async def phones(session: aiohttp.ClientSession, tmp_path: Path) -> AsyncIterator[Phones]:
    path, pushes = tmp_path / "account.json", []

    async def keep(push: actions.Push) -> None:
        pushes.append(push)

    ensure_service_account(path, "http://127.0.0.1:1")
    key = load_public_key(read_theirs(path))
    theirs = actions.AccessTokens(key, email=read_theirs(path)["client_email"], audience="", seconds=3600)
    async with serving(fcm.Fcm("carillon-local", theirs, keep)) as url:
        ensure_service_account(path, url)
        account = read_service_account(path)
        theirs._audience = account.token_uri
        ours = AccessTokens(session, account)

        async def device_gone(device: DeviceGone) -> None:
            await built.device_gone(device)

        provider = FcmProvider(
            session, ours, url=f"{url}/simulators/fcm", project=account.project_id, device_gone=device_gone
        )
        built = Phones(provider, ours, theirs, pushes)
        yield built


async def test_a_push_reaches_every_device_with_one_access_token(phones: Phones) -> None:
    answer = await phones.send("one", "two")

    assert isinstance(answer, Accepted)
    assert sorted(str(push.token) for push in phones.pushes) == ["one", "two"]
    assert answer.provider_message_id in {push.name for push in phones.pushes}
    await asyncio.gather(*(phones.send(f"device {n}".replace(" ", "-")) for n in range(20)))
    assert len(phones.theirs._until) == 1


async def test_an_access_token_that_is_refused_is_renewed_once_for_all(phones: Phones) -> None:
    await phones.send("one")
    phones.theirs._until.clear()

    answers = await asyncio.gather(*(phones.send("two") for _ in range(10)))
    assert all(isinstance(answer, Accepted) for answer in answers)
    assert len(phones.theirs._until) == 1


async def test_dead_devices_are_told_and_the_living_ones_served(phones: Phones) -> None:
    answer = await phones.send("unregistered-1", "alive", "unregistered-2")

    assert isinstance(answer, Accepted)
    assert [(gone.user_id, gone.token, gone.reason) for gone in phones.gone] == [
        (USER, "unregistered-1", "unregistered"),
        (USER, "unregistered-2", "unregistered"),
    ]


async def test_when_every_device_is_dead_the_push_has_failed_for_good(phones: Phones) -> None:
    answer = await phones.send("unregistered-1")
    assert isinstance(answer, Refused)
    assert answer.reason == "no_valid_device"


async def test_users_being_away_does_not_fail_a_push_that_was_taken(phones: Phones) -> None:
    phones.users_away = True
    assert isinstance(await phones.send("unregistered-1", "alive"), Accepted)


@pytest.mark.parametrize(
    ("token", "reason", "after"), [("quota-1", "fcm_quota_exceeded", 1.0), ("unavailable-1", "fcm_unavailable", 1.0)]
)
async def test_a_provider_that_is_busy_says_when_to_come_again(
    phones: Phones, token: str, reason: str, after: float
) -> None:
    answer = await phones.send(token)
    assert isinstance(answer, Failed)
    assert (answer.reason, answer.retry_after) == (reason, after)
    assert phones.gone == []


async def test_a_message_that_fcm_refuses_is_not_the_devices_fault(phones: Phones) -> None:
    answer = await phones.send("alive", colour="red")
    assert isinstance(answer, Refused)
    assert answer.reason == "message_refused"
    assert phones.gone == []


@pytest.mark.parametrize("token", ["one", f"cX{'9' * 20}:APA91b{'k_-' * 40}"])
async def test_what_fcm_says_comes_back_without_the_token_it_quotes(
    phones: Phones, session: aiohttp.ClientSession, token: str
) -> None:
    async def refuses(request: web.Request) -> web.Response:
        quoted = (await request.json())["message"]["token"]
        error = {"code": 400, "status": "INVALID_ARGUMENT", "message": f"Invalid value at 'x', \"{quoted}\""}
        return web.json_response({"error": error}, status=400)

    async with peer([web.post("/v1/projects/p/messages:send", refuses)]) as far:
        answer = await FcmProvider(
            session, phones.tokens, url=far.url, project="p", device_gone=phones.device_gone
        ).send(Push(USER, [token], MESSAGE))

    assert answer == Refused("message_refused", "400 INVALID_ARGUMENT Invalid value at 'x', \"…\"")


async def test_a_service_account_that_is_refused_is_the_providers_trouble(phones: Phones) -> None:
    phones.theirs._audience = "somebody else"
    answer = await phones.send("one")

    assert isinstance(answer, Failed)
    assert (answer.reason, answer.down, answer.unknown) == ("fcm_authentication_failed", True, False)


async def test_nobody_there_is_the_providers_trouble(phones: Phones, session: aiohttp.ClientSession) -> None:
    await phones.tokens.token()
    lost = FcmProvider(
        session, phones.tokens, url="http://127.0.0.1:1", project="p", device_gone=phones.device_gone, seconds=2
    )
    answer = await lost.send(Push(USER, ["one"], MESSAGE))
    assert answer == Failed("fcm_unreachable", "ClientConnectorError", down=True)


async def test_a_token_is_renewed_shortly_before_its_end(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    given: list[str] = []

    async def grant(_request: web.Request) -> web.Response:
        given.append(f"token-{len(given)}")
        return web.json_response({"access_token": given[-1], "expires_in": 3600})

    now = 1_000_000.0
    async with peer([web.post("/simulators/fcm/token", grant)]) as there:
        ensure_service_account(tmp_path / "account.json", there.url)
        tokens = AccessTokens(session, read_service_account(tmp_path / "account.json"), now=lambda: now)
        assert [await tokens.token() for _ in range(3)] == ["token-0"] * 3
        now += 3539
        assert await tokens.token() == "token-0"
        now += 2
        assert await tokens.token() == "token-1"
        assert await tokens.token(instead_of="token-0") == "token-1"
        assert await tokens.token(instead_of="token-1") == "token-2"


async def test_those_who_wait_for_a_token_share_its_refusal_and_the_next_one_asks_anew(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    asked: list[int] = []

    async def refuse(_request: web.Request) -> web.Response:
        asked.append(1)
        return web.Response(status=503)

    async with peer([web.post("/simulators/fcm/token", refuse)]) as there:
        ensure_service_account(tmp_path / "account.json", there.url)
        tokens = AccessTokens(session, read_service_account(tmp_path / "account.json"))
        told = await asyncio.gather(*(tokens.token() for _ in range(10)), return_exceptions=True)
        assert {str(error) for error in told} == {"the token endpoint answered 503"}
        assert len(asked) == 1

        with pytest.raises(AuthenticationFailed):
            await tokens.token()
        assert len(asked) == 2


async def test_a_wrong_key_for_apns_costs_no_access_token_and_leaves_the_provider_up(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    granted: list[int] = []

    async def grant(_request: web.Request) -> web.Response:
        granted.append(1)
        return web.json_response({"access_token": "x", "expires_in": 3600})

    async def refuse(_request: web.Request) -> web.Response:
        error = {"status": "UNAUTHENTICATED", "details": [{"errorCode": "THIRD_PARTY_AUTH_ERROR"}]}
        return web.json_response({"error": error}, status=401)

    async with peer([web.post("/simulators/fcm/token", grant), web.post("/v1/{rest:.*}", refuse)]) as there:
        ensure_service_account(tmp_path / "account.json", there.url)
        tokens = AccessTokens(session, read_service_account(tmp_path / "account.json"))
        provider = FcmProvider(session, tokens, url=there.url, project="p", device_gone=nobody_is_told)
        answer = await provider.send(Push(USER, ["an-iphone"], MESSAGE))

    assert isinstance(answer, Failed)
    assert (answer.reason, answer.down) == ("fcm_third_party_authentication_failed", False)
    assert len(granted) == 1


async def nobody_is_told(device: DeviceGone) -> None:
    raise AssertionError(device)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"access_token": "x", "expires_in": "soon"}', b"<html>"])
async def test_a_strange_answer_of_the_token_endpoint_is_told_as_such(
    session: aiohttp.ClientSession, tmp_path: Path, body: bytes
) -> None:
    async def grant(_request: web.Request) -> web.Response:
        return web.Response(body=body)

    async with peer([web.post("/simulators/fcm/token", grant)]) as there:
        ensure_service_account(tmp_path / "account.json", there.url)
        with pytest.raises(AuthenticationFailed):
            await AccessTokens(session, read_service_account(tmp_path / "account.json")).token()


@pytest.mark.parametrize(
    "content",
    [None, "", "[]", "{}", json.dumps(dict.fromkeys(("project_id", "private_key", "client_email", "token_uri"), "x"))],
)
def test_a_file_that_is_no_service_account_is_refused_without_being_quoted(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "account.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SettingsError, match="CARILLON_SERVICE_ACCOUNT_FILE"):
        read_service_account(path)


def test_a_worker_without_a_service_account_is_not_built() -> None:
    settings = PushWorkerSettings(database_url="postgresql://x", broker_url="postgresql://x", token_file=Path("t"))
    with pytest.raises(SettingsError, match="CARILLON_SERVICE_ACCOUNT_FILE"):
        build(settings)
