"""Devices and strangers: another's are neither seen nor changed, and no endpoint leads inside our network."""

from typing import Any
from uuid import uuid4

import asyncpg

from tests.integration.users.client import UsersApi
from tests.integration.users.test_devices import KEYS, WEB_PUSH, given, listed, pushed_to

INSIDE = [
    "https://127.0.0.1/", "https://2130706433/", "https://0177.1/", "https://0x7f.1/", "https://localhost/",
    "https://169.254.169.254/latest/meta-data/", "https://10.0.0.1/", "https://[::1]/", "https://[fe80::1]/",
    "https://[fd00::1]/", "https://[::ffff:127.0.0.1]/", "https://[64:ff9b::a00:1]/", "https://[2002:a00:1::]/",
    "https://user:pass@push.example.com/", "https://push.example.com@127.0.0.1/", "https://push.example.com\\@127.0.0.1/",
    "http://push.example.com/", "https://push.example.com:5432/", "https://users.internal/", "https://users/",
    "https://printer.local/", "https://push.example.com/#x", "gopher://push.example.com/", "https://" + "a" * 2048,
]  # fmt: skip


async def test_endpoints_that_may_lead_inside_are_refused_and_not_quoted(api: UsersApi) -> None:
    ada, token = await api.someone()

    for endpoint in INSIDE:
        refused = await given(api, ada, token, **{**WEB_PUSH, "token": endpoint})

        assert (refused.status, refused.body["details"][0]["field"]) == (422, "token"), endpoint
        assert endpoint not in refused.body["message"]
    assert await listed(api, ada, token) == []


async def test_anothers_devices_are_not_found_and_not_changed(api: UsersApi, sql: asyncpg.Connection) -> None:
    ada, adas = await api.someone()
    bob, bobs = await api.someone()
    device = (await given(api, bob, bobs, token="bobs", name="Bob's")).data
    await sql.execute("DELETE FROM users.outbox")
    devices = f"/v1/users/{bob['user_id']}/devices"
    body = {"platform": "webpush", "token": "https://push.example.com/mine", "keys": KEYS}

    for stranger in (adas, api.credentials["application_token"], api.service_token("push_worker")):
        for method, path, said, code in (
            ("GET", devices, None, "user_not_found"),
            ("POST", devices, body, "user_not_found"),
            ("GET", f"{devices}/{device['device_id']}", None, "device_not_found"),
            ("DELETE", f"{devices}/{device['device_id']}", None, "device_not_found"),
        ):
            answer = await api.call(method, path, token=stranger, body=said)
            assert (answer.status, answer.body["error"]) == (404, code), (method, path)
    assert (await api.call("GET", devices)).status == 401
    assert (await listed(api, bob, bobs), await listed(api, ada, adas)) == ([device], [])
    assert await sql.fetchval("SELECT count(*) FROM users.outbox") == 0


async def test_anothers_device_is_not_reached_through_ones_own_path(api: UsersApi) -> None:
    ada, adas = await api.someone()
    bob, bobs = await api.someone()
    device = (await given(api, bob, bobs, token="bobs")).data

    for owner, token in ((ada, adas), (ada, await api.admin()), ({"user_id": str(uuid4())}, adas)):
        for method in ("GET", "DELETE"):
            path = f"/v1/users/{owner['user_id']}/devices/{device['device_id']}"
            answer = await api.call(method, path, token=token)
            assert (answer.status, answer.body["error"]) == (404, "device_not_found")
    assert [found["token"] for found in await pushed_to(api, bob)] == ["bobs"]


async def test_an_administrator_sees_changes_and_removes_devices_of_others(api: UsersApi) -> None:
    bob, bobs = await api.someone()
    admin = await api.admin()

    device: dict[str, Any] = (await given(api, bob, admin, token="bobs")).data

    assert await listed(api, bob, admin) == [device] == await listed(api, bob, bobs)
    path = f"/v1/users/{bob['user_id']}/devices/{device['device_id']}"
    assert (await api.call("DELETE", path, token=admin)).status == 200
    assert await listed(api, bob, bobs) == []
    assert (await api.call("GET", f"/v1/users/{uuid4()}/devices", token=admin)).status == 404
