"""Preferences, contacts and devices: what was agreed is what is decided, and every change is told."""

import asyncio
import hashlib
import json
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from carillon.kit.ids import uuid7
from tests.integration.users.client import UsersApi

NONSENSE: list[tuple[str, Any]] = [
    ("PUT", {}),
    ("PUT", {"email": True}),
    ("PUT", {"email": True, "push": None}),
    ("PUT", {"email": 1, "push": True}),
    ("PATCH", {"sms": True}),
    ("PATCH", {"email": "false"}),
    ("PATCH", {"version": 1}),
    ("PATCH", {"categories": {"With Space": True}}),
    ("PATCH", {"categories": {"nul\x00": True}}),
    ("PATCH", {"categories": {"": True}}),
    ("PATCH", {"categories": {"x" * 101: True}}),
    ("PATCH", {"categories": {"news": "no"}}),
    ("PATCH", {"categories": {f"c{n}": True for n in range(201)}}),
    ("PUT", {"email": True, "push": True, "categories": {"news": None}}),
    ("PUT", {"email": True, "push": True, "categories": {"news": {"email": None}}}),
    ("PUT", {"email": True, "push": True, "user_id": "01a1d1a0-0000-7000-8000-000000000001"}),
    ("PUT", {"email": True, "push": True, "is_admin": True, "roles": ["admin"]}),
    ("PATCH", {"categories": {"news": {"sms": True}}}),
    ("PATCH", {"categories": {"news": {"email": 1}}}),
    ("PATCH", {"categories": {"news": []}}),
    ("PATCH", {"categories": {"__proto__": True}}),
    ("PATCH", {"categories": {"news\n": True}}),
    ("PATCH", {"quiet_hours": {}}),
    ("PATCH", {"quiet_hours": {"start": "22:00", "end": "22:00"}}),
    ("PATCH", {"quiet_hours": {"start": "24:00", "end": "07:00"}}),
    ("PATCH", {"quiet_hours": {"start": "7:00", "end": "08:00"}}),
    ("PATCH", {"quiet_hours": {"start": "22:00\n", "end": "07:00"}}),
    ("PATCH", {"quiet_hours": {"start": "\uff12\uff12:00", "end": "07:00"}}),
    ("PATCH", {"quiet_hours": {"start": "22:00", "end": "07:00", "timezone": "Mars/Olympus"}}),
    ("PATCH", {"quiet_hours": {"start": "22:00", "end": "07:00", "timezone": "../../etc/passwd"}}),
    ("PATCH", {"quiet_hours": {"start": "22:00", "end": "07:00", "timezone": "localtime"}}),
    ("PATCH", {"quiet_hours": {"start": "22:00", "end": "07:00", "timezone": "right/Europe/Paris"}}),
    ("PATCH", {"quiet_hours": {"start": "22:00", "end": "07:00", "timezone": "x" * 5000}}),
    ("PATCH", {"quiet_hours": {"start": "22:00", "end": "07:00", "days": ["mon"]}}),
    ("PATCH", {"quiet_hours": ["22:00", "07:00"]}),
]


async def contact(api: UsersApi, user_id: str, channel: str, category: str = "") -> dict[str, Any]:
    """As a worker sees it; asked one by one and in a batch, which must agree."""
    worker = api.service_token("push_worker")
    query = f"?channel={channel}" + (f"&category={category}" if category else "")
    one = (await api.call("GET", f"/v1/users/{user_id}/contact{query}", token=worker)).data
    body = {"user_ids": [user_id], "channel": channel, "category": category or None}
    many = (await api.call("POST", "/v1/users/contacts", token=worker, body=body)).data
    assert many == {"contacts": [one], "missing": []}
    found: dict[str, Any] = one
    return found


async def test_preferences_are_replaced_as_a_whole_and_changed_in_part(api: UsersApi) -> None:
    ada, token = await api.someone()
    path = f"/v1/users/{ada['user_id']}/preferences"
    assert (await api.call("GET", path, token=token)).data == {
        "email": True, "push": True, "categories": {}, "quiet_hours": None, "version": 1,
    }  # fmt: skip

    whole = await api.call("PUT", path, token=token, body={"email": True, "push": False, "categories": {"news": False}})
    part = await api.call("PATCH", path, token=token, body={"push": True, "categories": {"billing": True}})
    undone = await api.call("PATCH", path, token=token, body={"categories": {"news": None, "never": None}})

    assert (whole.data["push"], whole.data["categories"], whole.data["version"]) == (False, {"news": False}, 2)
    assert (part.data["email"], part.data["push"]) == (True, True)
    assert part.data["categories"] == {"news": False, "billing": True}
    assert (undone.data["categories"], undone.data["version"]) == ({"billing": True}, 4)
    assert (await api.call("GET", path, token=token)).data == undone.data
    emptied = await api.call("PUT", path, token=token, body={"email": False, "push": True})
    assert emptied.data["categories"] == {}
    assert (await api.call("GET", "/v1/users/me", token=token)).data["preferences"] == {"email": False, "push": True}


async def test_changes_of_different_parts_at_once_are_all_kept(api: UsersApi) -> None:
    ada, token = await api.someone()
    path = f"/v1/users/{ada['user_id']}/preferences"
    bodies: list[dict[str, Any]] = [{"categories": {f"c{number}": False}} for number in range(20)]

    answers = await asyncio.gather(
        *(api.call("PATCH", path, token=token, body=body) for body in [*bodies, {"email": False}])
    )

    assert sorted(answer.data["version"] for answer in answers) == list(range(2, 23))
    kept = (await api.call("GET", path, token=token)).data
    assert (kept["email"], kept["categories"], kept["version"]) == (False, {f"c{n}": False for n in range(20)}, 22)


async def test_preferences_that_make_no_sense_are_refused(api: UsersApi) -> None:
    ada, token = await api.someone()

    for method, body in NONSENSE:
        answer = await api.call(method, f"/v1/users/{ada['user_id']}/preferences", token=token, body=body)

        assert (answer.status, answer.body["error"]) == (422, "validation_failed"), str(body)[:80]


async def test_categories_stay_within_their_number_and_a_refusal_changes_nothing(api: UsersApi) -> None:
    ada, token = await api.someone()
    path = f"/v1/users/{ada['user_id']}/preferences"
    full = {f"c{n}": True for n in range(200)}
    assert (await api.call("PATCH", path, token=token, body={"categories": full})).status == 200

    refused = await api.call("PATCH", path, token=token, body={"email": False, "categories": {"one-more": True}})

    assert (refused.status, refused.body["details"][0]["field"]) == (422, "categories")
    kept = (await api.call("GET", path, token=token)).data
    assert (kept["email"], len(kept["categories"]), kept["version"]) == (True, 200, 2)


async def test_an_opt_out_is_decided_at_once(api: UsersApi) -> None:
    ada, token = await api.someone(push_token="device-1")
    assert (await contact(api, ada["user_id"], "email"))["decision"]["allowed"] is True
    path = f"/v1/users/{ada['user_id']}/preferences"

    await api.call("PATCH", path, token=token, body={"email": False, "categories": {"news": False}})

    email = await contact(api, ada["user_id"], "email")
    assert (email["decision"]["allowed"], email["decision"]["layer"]) == (False, "channel_opt_out")
    push = await contact(api, ada["user_id"], "push")
    assert (push["decision"]["layer"], push["devices"][0]["token"], push["email"]) == (
        "channel_default", "device-1", None,
    )  # fmt: skip
    assert (await contact(api, ada["user_id"], "push", "news"))["decision"]["layer"] == "category_choice"
    assert push["version"] == 2


async def test_a_suppressed_address_is_not_written_to(api: UsersApi, sql: asyncpg.Connection) -> None:
    ada, _ = await api.someone(email="Ada@Example.com", push_token="device-1")
    digest = hashlib.sha256(b"ada@example.com").digest()

    await sql.execute(
        "INSERT INTO users.suppressed_addresses (id, address_hash, reason) VALUES ($1, $2, 'bounced')", uuid7(), digest
    )

    assert (await contact(api, ada["user_id"], "email"))["decision"]["layer"] == "suppressed_address"
    assert (await contact(api, ada["user_id"], "push"))["decision"]["allowed"] is True


async def test_contacts_are_for_services_up_to_five_hundred(api: UsersApi) -> None:
    users = [(await api.register()).data["user_id"] for _ in range(3)]
    stranger = str(uuid4())
    worker = api.service_token("email_worker")
    path = "/v1/users/contacts"

    body = {"user_ids": [users[2], stranger, users[0], users[0]], "channel": "email"}
    found = (await api.call("POST", path, token=worker, body=body)).data
    assert [one["user_id"] for one in found["contacts"]] == [users[2], users[0], users[0]]
    assert found["missing"] == [stranger]
    many = {"user_ids": [str(uuid4()) for _ in range(500)], "channel": "push"}
    assert len((await api.call("POST", path, token=worker, body=many)).data["missing"]) == 500
    many["user_ids"] = [*many["user_ids"], stranger]
    assert (await api.call("POST", path, token=worker, body=many)).status == 422
    assert (await api.call("POST", path, token=worker, body={"user_ids": [], "channel": "sms"})).status == 422
    assert (await api.call("POST", path, token=worker, body={"user_ids": [], "channel": "email"})).status == 200
    unknown = await api.call("GET", f"/v1/users/{stranger}/contact?channel=email", token=worker)
    assert (unknown.status, unknown.body["error"]) == (404, "user_not_found")
    _, token = await api.someone()
    for bearer in (token, await api.admin()):
        expected = 403 if bearer == token else 200
        assert (await api.call("POST", path, token=bearer, body=body)).status == expected


async def test_a_push_token_is_set_replaced_and_taken_away(api: UsersApi, sql: asyncpg.Connection) -> None:
    ada, token = await api.someone(push_token="first")
    path = f"/v1/users/{ada['user_id']}/push_token"

    second = await api.call("PUT", path, token=token, body={"push_token": "second"})
    assert second.data["push_token"] == "second"
    assert [d["token"] for d in (await contact(api, ada["user_id"], "push"))["devices"]] == ["second"]
    gone = await api.call("PUT", path, token=token, body={"push_token": None})

    assert (gone.data["push_token"], gone.data["version"]) == (None, 3)
    assert (await contact(api, ada["user_id"], "push"))["decision"]["layer"] == "unreachable"
    assert await sql.fetchval("SELECT count(*) FROM users.devices") == 0
    for body in (
        {},
        {"push_token": 5},
        {"push_token": ""},
        {"push_token": "a b"},
        {"push_token": "x", "platform": "y"},
    ):
        assert (await api.call("PUT", path, token=token, body=body)).status == 422


async def test_a_token_moves_to_whoever_has_the_device_now(api: UsersApi, sql: asyncpg.Connection) -> None:
    ada, _ = await api.someone(push_token="shared-device")
    bob, token = await api.someone(push_token="bobs-device")

    await api.call("PUT", f"/v1/users/{bob['user_id']}/push_token", token=token, body={"push_token": "shared-device"})
    eve = (await api.register(push_token="bobs-device")).data

    tokens = {row["user_id"]: row["token"] for row in await sql.fetch("SELECT user_id, token FROM users.devices")}
    assert tokens == {UUID(bob["user_id"]): "shared-device", UUID(eve["user_id"]): "bobs-device"}
    assert (await contact(api, ada["user_id"], "push"))["decision"]["layer"] == "unreachable"
    told = {row["body"]["user_id"] for row in await outbox(sql)}
    assert told == {ada["user_id"], bob["user_id"]}, "those who lost a device are told of as well"


async def test_two_hundred_moves_of_two_tokens_at_once_leave_each_with_one_user(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    people = [await api.someone() for _ in range(4)]

    async def take(number: int) -> int:
        user, token = people[number % 4]
        body = {"push_token": f"device-{(number // 3) % 2}"}
        return (await api.call("PUT", f"/v1/users/{user['user_id']}/push_token", token=token, body=body)).status

    statuses = await asyncio.gather(*(take(number) for number in range(200)))

    assert set(statuses) == {200}
    rows = await sql.fetch("SELECT user_id, token FROM users.devices")
    assert len(rows) == len({row["token"] for row in rows}) == len({row["user_id"] for row in rows})


async def test_a_dead_token_is_marked_and_comes_back_to_life_when_it_is_set_again(api: UsersApi) -> None:
    ada, token = await api.someone(push_token="device-1")
    bob, _ = await api.someone(push_token="device-2")
    worker = api.service_token("push_worker")

    async def gone(user: dict[str, Any], token: str) -> bool:
        body = {"user_id": user["user_id"], "token": token, "reason": "UNREGISTERED"}
        answer = await api.call("POST", "/v1/users/devices/invalid", token=worker, body=body)
        assert answer.status == 200
        marked: bool = answer.data["marked"]
        return marked

    assert await gone(ada, "device-2") is False, "the token is somebody else's by now"
    assert await gone(ada, "unheard-of") is False
    assert await gone(ada, "device-1") is True
    assert await gone(ada, "device-1") is False
    assert (await contact(api, ada["user_id"], "push"))["decision"]["layer"] == "unreachable"
    assert (await contact(api, bob["user_id"], "push"))["decision"]["allowed"] is True
    assert (await api.call("GET", "/v1/users/me", token=token)).data["push_token"] is None

    await api.call("PUT", f"/v1/users/{ada['user_id']}/push_token", token=token, body={"push_token": "device-1"})
    assert (await contact(api, ada["user_id"], "push"))["decision"]["allowed"] is True


async def test_a_report_of_a_dead_token_that_makes_no_sense_is_refused(api: UsersApi) -> None:
    worker = api.service_token("push_worker")
    changes: list[dict[str, Any]] = [
        {"token": "nul\x00"}, {"token": ""}, {"reason": "\x00"}, {"user_id": "x"}, {"more": 1},
    ]  # fmt: skip
    for change in changes:
        body = {"user_id": str(uuid4()), "token": "device-1", "reason": "UNREGISTERED", **change}

        assert (await api.call("POST", "/v1/users/devices/invalid", token=worker, body=body)).status == 422, change


async def test_who_may_not_report_dead_tokens_kills_none(api: UsersApi) -> None:
    ada, token = await api.someone(push_token="device-1")
    body = {"user_id": ada["user_id"], "token": "device-1", "reason": "x"}

    for bearer in (token, api.service_token("email_worker"), api.credentials["application_token"]):
        assert (await api.call("POST", "/v1/users/devices/invalid", token=bearer, body=body)).status == 403


async def outbox(sql: asyncpg.Connection) -> list[dict[str, Any]]:
    await sql.set_type_codec("jsonb", schema="pg_catalog", encoder=str, decoder=json.loads)
    return [dict(row) for row in await sql.fetch("SELECT * FROM users.outbox ORDER BY id")]
