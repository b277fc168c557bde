"""Several devices of a user: registered, moved, listed with their fate, removed; each change is told to everybody."""

import asyncio
import base64
import json
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from tests.integration.users.client import Answer, UsersApi

APNS = "0F" * 32
ENDPOINT = "https://push.example.com/send/1"
KEYS = {
    "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
    "auth": "BTBZMqHH6r4Tts7J_aSIgg",
}
WEB_PUSH = {"platform": "webpush", "token": ENDPOINT, "keys": KEYS}

NONSENSE: list[tuple[dict[str, Any], str]] = [
    ({"platform": "sms"}, "platform"),
    ({"token": ""}, "token"),
    ({"token": "a b"}, "token"),
    ({"token": "x" * 2049}, "token"),
    ({"name": ""}, "name"),
    ({"name": "two\nlines"}, "name"),
    ({"name": "\u202egnp.exe"}, "name"),
    ({"name": "x" * 101}, "name"),
    ({"user_id": str(uuid4())}, "user_id"),
    ({"is_push_token": True}, "is_push_token"),
    ({"keys": KEYS}, "keys"),
    ({"platform": "apns", "token": "0f" * 31}, "token"),
    ({"platform": "apns", "token": "0g" * 32}, "token"),
    ({"platform": "apns", "token": "0f" * 101}, "token"),
    ({**WEB_PUSH, "keys": None}, "keys"),
    ({**WEB_PUSH, "keys": {}}, "keys.p256dh"),
    ({**WEB_PUSH, "keys": {**KEYS, "more": 1}}, "keys.more"),
    ({**WEB_PUSH, "keys": {**KEYS, "auth": base64.urlsafe_b64encode(b"x" * 15).decode()}}, "keys.auth"),
    ({**WEB_PUSH, "keys": {**KEYS, "auth": "A"}}, "keys.auth"),
    ({**WEB_PUSH, "keys": {**KEYS, "auth": "+/" * 11}}, "keys.auth"),
    ({**WEB_PUSH, "keys": {**KEYS, "p256dh": KEYS["p256dh"][:-2]}}, "keys.p256dh"),
    ({**WEB_PUSH, "keys": {**KEYS, "p256dh": "BA" + "A" * 85}}, "keys.p256dh"),
    ({**WEB_PUSH, "keys": {**KEYS, "p256dh": "A" + KEYS["p256dh"][1:]}}, "keys.p256dh"),
]


async def given(api: UsersApi, user: dict[str, Any], token: str, /, **device: Any) -> Answer:
    body = {"platform": "fcm", "token": uuid4().hex, **device}
    return await api.call("POST", f"/v1/users/{user['user_id']}/devices", token=token, body=body)


async def listed(api: UsersApi, user: dict[str, Any], token: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await api.call("GET", f"/v1/users/{user['user_id']}/devices", token=token)).data
    return found


async def pushed_to(api: UsersApi, user: dict[str, Any]) -> list[dict[str, Any]]:
    worker = api.service_token("push_worker")
    contact = await api.call("GET", f"/v1/users/{user['user_id']}/contact?channel=push", token=worker)
    found: list[dict[str, Any]] = contact.data["devices"]
    return found


async def actions_on(sql: asyncpg.Connection, user: dict[str, Any]) -> list[str]:
    rows = await sql.fetch(
        "SELECT action FROM users.audit_events WHERE subject_id = $1 ORDER BY id", UUID(user["user_id"])
    )
    return [row["action"] for row in rows if row["action"] != "user_registered" and "device" in row["action"]]


async def test_devices_of_every_platform_are_registered_listed_and_told_to_workers(api: UsersApi) -> None:
    ada, token = await api.someone()

    phone = await given(api, ada, token, token="phone", name=" My phone ")
    tablet = await given(api, ada, token, platform="apns", token=APNS)
    browser = await given(api, ada, token, **WEB_PUSH)

    assert [answer.status for answer in (phone, tablet, browser)] == [201, 201, 201]
    assert (phone.data["name"], tablet.data["token"], browser.data["token"]) == ("My phone", APNS.lower(), ENDPOINT)
    assert await listed(api, ada, token) == [phone.data, tablet.data, browser.data]
    assert "keys" not in browser.data
    one = await api.call("GET", f"/v1/users/{ada['user_id']}/devices/{tablet.data['device_id']}", token=token)
    assert one.data == tablet.data
    assert [(d["platform"], d["token"], d["keys"]) for d in await pushed_to(api, ada)] == [
        ("fcm", "phone", None), ("apns", APNS.lower(), None), ("webpush", ENDPOINT, KEYS),
    ]  # fmt: skip
    assert (await api.call("GET", "/v1/users/me", token=token)).data["push_token"] is None


async def test_the_same_device_again_is_changed_and_keeps_its_id(api: UsersApi, sql: asyncpg.Connection) -> None:
    ada, token = await api.someone()
    first = await given(api, ada, token, **WEB_PUSH, name="Firefox")

    padded = {**WEB_PUSH, "token": "HTTPS://PUSH.example.com:443/send/1", "keys": {**KEYS, "auth": KEYS["auth"] + "=="}}
    again = await given(api, ada, token, **padded)
    renamed = await given(api, ada, token, **WEB_PUSH, name="Zen")

    assert (first.status, again.status, renamed.status) == (201, 200, 200)
    assert first.data["device_id"] == again.data["device_id"] == renamed.data["device_id"]
    assert (again.data["name"], renamed.data["name"]) == ("Firefox", "Zen")
    assert await actions_on(sql, ada) == ["device_registered", "device_changed", "device_changed"]
    assert (await pushed_to(api, ada))[0]["keys"] == KEYS


async def test_a_device_moves_to_whoever_registers_it_and_both_are_told_of(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    ada, adas = await api.someone()
    bob, bobs = await api.someone()
    before = (await given(api, ada, adas, token="shared", name="Ada's phone")).data
    await sql.execute("DELETE FROM users.outbox")

    after = await given(api, bob, bobs, token="shared")

    assert (after.status, after.data["name"]) == (201, "")
    assert after.data["device_id"] != before["device_id"]
    assert (await listed(api, ada, adas), await pushed_to(api, ada)) == ([], [])
    assert [device["token"] for device in await pushed_to(api, bob)] == ["shared"]
    told = {row["body"]["user_id"] for row in await _outbox(sql)}
    assert told == {ada["user_id"], bob["user_id"]}
    assert await actions_on(sql, ada) == ["device_registered", "device_moved_away"]
    versions = [(await api.call("GET", "/v1/users/me", token=token)).data["version"] for token in (adas, bobs)]
    assert versions == [3, 2]


async def test_the_push_token_is_one_of_the_devices(api: UsersApi) -> None:
    ada, token = await api.someone(push_token="phone")
    await given(api, ada, token, platform="apns", token=APNS)

    again = await given(api, ada, token, token="phone", name="My phone")
    assert (again.status, again.data["is_push_token"]) == (200, True)
    path = f"/v1/users/{ada['user_id']}/push_token"
    await api.call("PUT", path, token=token, body={"push_token": "other"})

    assert [(d["token"], d["is_push_token"]) for d in await listed(api, ada, token)] == [
        (APNS.lower(), False), ("other", True),
    ]  # fmt: skip
    await api.call("PUT", path, token=token, body={"push_token": None})
    assert [device["token"] for device in await pushed_to(api, ada)] == [APNS.lower()]


async def test_a_removed_device_is_gone_and_removing_it_again_finds_nothing(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    ada, token = await api.someone()
    device = (await given(api, ada, token)).data
    path = f"/v1/users/{ada['user_id']}/devices/{device['device_id']}"

    removed = await api.call("DELETE", path, token=token)

    assert (removed.status, removed.data) == (200, device)
    assert await pushed_to(api, ada) == []
    for method in ("GET", "DELETE"):
        answer = await api.call(method, path, token=token)
        assert (answer.status, answer.body["error"]) == (404, "device_not_found")
    assert await actions_on(sql, ada) == ["device_registered", "device_removed"]


async def test_a_dead_device_is_listed_with_its_reason_and_lives_again_when_it_is_registered(api: UsersApi) -> None:
    ada, token = await api.someone()
    await given(api, ada, token, token="phone")
    await given(api, ada, token, **WEB_PUSH)

    marked = [await _gone(api, ada, platform, ENDPOINT) for platform in ("fcm", "webpush", "webpush")]

    assert marked == [False, True, False]
    phone, browser = await listed(api, ada, token)
    assert (phone["invalid_at"], browser["invalid_reason"]) == (None, "410 Gone")
    assert browser["invalid_at"] is not None
    assert [device["token"] for device in await pushed_to(api, ada)] == ["phone"]
    assert (await given(api, ada, token, **WEB_PUSH)).data["invalid_at"] is None
    assert len(await pushed_to(api, ada)) == 2


async def test_twenty_devices_are_kept_and_dead_ones_make_room(api: UsersApi) -> None:
    ada, token = await api.someone()
    answers = await asyncio.gather(*(given(api, ada, token, token=f"device-{n}") for n in range(25)))
    assert sorted(answer.status for answer in answers) == [201] * 20 + [409] * 5
    full = next(answer for answer in answers if answer.status == 409)
    assert full.body["error"] == "too_many_devices"
    push_token = f"/v1/users/{ada['user_id']}/push_token"
    assert (await api.call("PUT", push_token, token=token, body={"push_token": "one-more"})).status == 409
    kept = await listed(api, ada, token)
    assert len(kept) == 20
    assert (await given(api, ada, token, token=kept[0]["token"])).status == 200, "what is there may be changed"

    await _gone(api, ada, "fcm", kept[3]["token"])
    assert (await given(api, ada, token, token="one-more")).status == 201

    tokens = {device["token"] for device in await listed(api, ada, token)}
    assert tokens == ({device["token"] for device in kept} | {"one-more"}) - {kept[3]["token"]}


async def test_two_hundred_moves_at_once_leave_each_device_with_one_user(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    people = [await api.someone() for _ in range(4)]

    async def take(number: int) -> int:
        user, token = people[number % 4]
        name = f"device-{(number // 3) % 2}"
        if number % 5 == 0:
            body = {"push_token": name}
            return (await api.call("PUT", f"/v1/users/{user['user_id']}/push_token", token=token, body=body)).status
        return (await given(api, user, token, token=name)).status

    statuses = await asyncio.gather(*(take(number) for number in range(200)))

    assert set(statuses) <= {200, 201}
    rows = await sql.fetch("SELECT user_id, token FROM users.devices ORDER BY token")
    assert [row["token"] for row in rows] == ["device-0", "device-1"]
    seen = [[device["token"] for device in await listed(api, user, token)] for user, token in people]
    assert sorted(name for names in seen for name in names) == ["device-0", "device-1"]


async def test_a_device_that_makes_no_sense_is_refused_by_the_name_of_its_field(
    api: UsersApi,
) -> None:
    ada, token = await api.someone()

    for device, field in NONSENSE:
        refused = await given(api, ada, token, **device)

        assert (refused.status, refused.body["details"][0]["field"]) == (422, field), refused.body
    assert await listed(api, ada, token) == []


async def _gone(api: UsersApi, user: dict[str, Any], platform: str, token: str) -> bool:
    body = {"user_id": user["user_id"], "platform": platform, "token": token, "reason": "410 Gone"}
    worker = api.service_token("push_worker")
    marked: bool = (await api.call("POST", "/v1/users/devices/invalid", token=worker, body=body)).data["marked"]
    return marked


async def _outbox(sql: asyncpg.Connection) -> list[dict[str, Any]]:
    await sql.set_type_codec("jsonb", encoder=str, decoder=json.loads, schema="pg_catalog")
    return [dict(row) for row in await sql.fetch("SELECT body FROM users.outbox")]
