"""The push simulator over HTTP: OAuth first, then messages, as the real one would have it."""

import io
import time
from typing import Any

import aiohttp
import jwt
import pytest

from carillon.simulators.actions import GRANT
from carillon.simulators.settings import SimulatorsSettings
from tests.integration.simulators.conftest import Simulators, simulators

MESSAGE = {
    "token": "device-1",
    "notification": {"title": "Hello", "body": "News"},
    "data": {"link": "https://a.example"},
}


async def access_token(running: Simulators) -> str:
    now = int(time.time())
    account = running.account
    claims = {"iss": account["client_email"], "aud": account["token_uri"], "iat": now, "exp": now + 3600}
    claims["scope"] = "https://www.googleapis.com/auth/firebase.messaging"
    assertion = jwt.encode(claims, account["private_key"], algorithm="RS256")
    form = {"grant_type": GRANT, "assertion": assertion}
    async with running.session.post(f"{running.url}/simulators/fcm/token", data=form) as answer:
        said = await answer.json()
    assert (answer.status, said["token_type"], said["expires_in"]) == (200, "Bearer", 3600), said
    token: str = said["access_token"]
    return token


async def push(
    running: Simulators, message: Any, *, token: str | None, project: str = "carillon-local"
) -> tuple[int, Any, aiohttp.ClientResponse]:
    url = f"{running.url}/simulators/fcm/v1/projects/{project}/messages:send"
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with running.session.post(url, json={"message": message}, headers=headers) as answer:
        return answer.status, await answer.json(), answer


async def test_a_push_is_taken_kept_and_listed(running: Simulators) -> None:
    bearer = await access_token(running)
    status, said, _ = await push(running, MESSAGE, token=bearer)
    await push(running, {**MESSAGE, "token": "device-2"}, token=bearer)

    assert status == 200
    assert said["name"].startswith("projects/carillon-local/messages/")
    (kept,) = await running.get("/mailbox/pushes?token=device-1")
    assert (kept["name"], kept["token"], kept["message"]) == (said["name"], "device-1", MESSAGE)
    assert (kept["notification"], kept["data"]) == (MESSAGE["notification"], MESSAGE["data"])
    assert [p["token"] for p in await running.get("/mailbox/pushes")] == ["device-2", "device-1"]


async def test_only_a_token_of_ours_opens_the_door(running: Simulators, settings: SimulatorsSettings) -> None:
    for token in (None, "", "ya29.invented"):
        status, said, _ = await push(running, MESSAGE, token=token)
        assert (status, said["error"]["status"]) == (401, "UNAUTHENTICATED")
    bearer = await access_token(running)
    status, said, _ = await push(running, MESSAGE, token=bearer, project="another-project")
    assert (status, said["error"]["status"]) == (403, "PERMISSION_DENIED")
    async with simulators(settings) as restarted:
        assert (await push(restarted, MESSAGE, token=bearer))[0] == 401
        assert (await push(restarted, MESSAGE, token=await access_token(restarted)))[0] == 200
    assert len(await running.get("/mailbox/pushes")) == 1


async def test_an_unsigned_assertion_gets_no_token(running: Simulators) -> None:
    for form in (
        {},
        {"grant_type": GRANT, "assertion": "nonsense"},
        {"grant_type": "password", "assertion": "x"},
    ):
        async with running.session.post(f"{running.url}/simulators/fcm/token", data=form) as answer:
            assert answer.status == 400
            assert (await answer.json())["error"] in {"invalid_grant", "unsupported_grant_type"}


@pytest.mark.parametrize(
    ("message", "status", "code"),
    [
        ({**MESSAGE, "token": "unregistered-9"}, 404, "UNREGISTERED"),
        ({**MESSAGE, "token": "quota-9"}, 429, "QUOTA_EXCEEDED"),
        ({**MESSAGE, "token": "unavailable-9"}, 503, "UNAVAILABLE"),
        ({**MESSAGE, "token": "mismatch-9"}, 403, "SENDER_ID_MISMATCH"),
        ({**MESSAGE, "data": {"n": 5}}, 400, "INVALID_ARGUMENT"),
        ("no message", 400, "INVALID_ARGUMENT"),
    ],
)
async def test_what_is_refused_wears_googles_shape_and_is_not_kept(
    running: Simulators, message: Any, status: int, code: str
) -> None:
    got, said, answer = await push(running, message, token=await access_token(running))

    assert got == said["error"]["code"] == status
    assert said["error"]["details"][0]["errorCode"] == code
    assert ("Retry-After" in answer.headers) == (status in {429, 503})
    assert "success" not in said
    assert await running.get("/mailbox/pushes") == []


async def test_a_validated_only_message_goes_nowhere(running: Simulators) -> None:
    url = f"{running.url}/simulators/fcm/v1/projects/carillon-local/messages:send"
    headers = {"Authorization": f"Bearer {await access_token(running)}"}
    async with running.session.post(url, json={"message": MESSAGE, "validate_only": True}, headers=headers) as answer:
        assert answer.status == 200
    assert await running.get("/mailbox/pushes") == []


async def test_other_paths_and_methods_and_huge_bodies_are_refused(running: Simulators) -> None:
    for method, path in (
        ("GET", "/simulators/fcm/token"),
        ("POST", "/simulators/fcm/v1/projects/p/messages"),
        ("POST", "/simulators/fcm/"),
        ("POST", "/simulators/nothing"),
    ):
        async with running.session.request(method, running.url + path) as answer:
            assert answer.status == 404, path
    async with running.session.post(f"{running.url}/simulators/fcm/token", data=io.BytesIO(b"x" * (2 << 20))) as answer:
        assert answer.status == 413
