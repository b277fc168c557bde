"""Choices by channel, quiet hours and the history of consent, over HTTP, with the input nobody should send."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
import msgspec
import pytest

from tests.integration.users.client import UsersApi
from tests.integration.users.test_preferences import contact

NIGHT = {"start": "22:00", "end": "07:00", "timezone": "Europe/Paris"}
RAW: list[tuple[bytes, int]] = [
    (b'{"email": ' + b"9" * 10_000 + b"}", 400),
    (b'{"email": NaN}', 400),
    (b'{"email": tru', 400),
    (b'{"categories": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}", 400),
    (b"[" * 100_000, 400),
    (b'{"categories": {"nul\\u0000": true}}', 422),
    (b'{"categories": {"\\ud800": true}}', 400),
    (b'{"categories": {"news": "\\u0000"}}', 422),
    (b"\xff\xfe", 400),
    (b'{"categories": {"constructor": {"__proto__": {"email": true}}}}', 422),
    (b"null", 422),
    (b"", 400),
]


async def test_a_choice_by_channel_is_merged_answered_and_decided(api: UsersApi) -> None:
    ada, token = await api.someone(push_token="device-1")
    path = f"/v1/users/{ada['user_id']}/preferences"

    await api.call("PATCH", path, token=token, body={"categories": {"news": True, "offers": {"push": False}}})
    part = await api.call("PATCH", path, token=token, body={"categories": {"news": {"email": False}}})

    assert part.data["categories"] == {"news": {"email": False, "push": True}, "offers": {"push": False}}
    assert (await api.call("GET", path, token=token)).data == part.data
    assert (await contact(api, ada["user_id"], "email", "news"))["decision"]["layer"] == "category_channel_choice"
    assert (await contact(api, ada["user_id"], "email", "offers"))["decision"]["allowed"] is True
    assert (await contact(api, ada["user_id"], "push", "offers"))["decision"]["allowed"] is False
    undone = await api.call("PATCH", path, token=token, body={"categories": {"offers": {"push": None}, "news": None}})
    assert undone.data["categories"] == {}


async def test_every_layer_is_told_with_the_addresses_in_one_trip(api: UsersApi) -> None:
    ada, token = await api.someone()
    path = f"/v1/users/{ada['user_id']}/preferences"
    await api.call("PATCH", path, token=token, body={"email": False, "quiet_hours": NIGHT})

    refused = await contact(api, ada["user_id"], "email", "news")
    required = await contact(api, ada["user_id"], "email", "account")

    said = {verdict["layer"]: verdict["allows"] for verdict in refused["decision"]["layers"]}
    assert said == {
        "suppressed_address": None, "category_required": None, "channel_opt_out": False,
        "category_channel_choice": None, "category_choice": None, "category_default": None, "channel_default": None,
        "unreachable": None,
    }  # fmt: skip
    assert (refused["quiet_hours"], refused["urgent"]) == (NIGHT, False)
    assert (required["decision"]["allowed"], required["decision"]["layer"]) == (True, "category_required")
    assert "does not count" in required["decision"]["reason"]
    assert (required["quiet_hours"], required["urgent"]) == (NIGHT, True)


async def test_a_suspended_user_is_not_notified_even_where_it_is_required(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    ada, _ = await api.someone(push_token="device-1")
    await sql.execute("UPDATE users.users SET status = 'suspended'")

    decision = (await contact(api, ada["user_id"], "email", "account"))["decision"]

    assert (decision["allowed"], decision["layer"], decision["reason"]) == (
        False, "unreachable", "The user is suspended.",
    )  # fmt: skip


async def test_quiet_hours_take_the_users_own_timezone_else_utc(api: UsersApi, sql: asyncpg.Connection) -> None:
    ada, token = await api.someone()
    path = f"/v1/users/{ada['user_id']}/preferences"
    hours = {"start": "22:00", "end": "07:00"}

    whole = await api.call("PUT", path, token=token, body={"email": True, "push": True, "quiet_hours": hours})

    assert whole.data["quiet_hours"] == {**hours, "timezone": None}
    for own, resolved in ((None, "UTC"), ("Asia/Tokyo", "Asia/Tokyo"), ("nonsense", "UTC")):
        await sql.execute("UPDATE users.users SET timezone = $1", own)
        await api.call("PATCH", path, token=token, body={"push": True})
        assert (await contact(api, ada["user_id"], "email"))["quiet_hours"] == {**hours, "timezone": resolved}
    gone = await api.call("PATCH", path, token=token, body={"quiet_hours": None})
    assert gone.data["quiet_hours"] is None


async def test_a_writer_may_insist_on_the_version_they_read(api: UsersApi) -> None:
    ada, token = await api.someone()
    url = f"/v1/users/{ada['user_id']}/preferences"
    bearer = {"Authorization": f"Bearer {token}"}

    async def patch(if_match: str) -> aiohttp.ClientResponse:
        body = {"email": False}
        return await api.session.patch(url, json=body, headers={**bearer, "If-Match": if_match})

    async with api.session.get(url, headers=bearer) as read:
        tag = read.headers["ETag"]
    first, second = await patch(tag), await patch(tag)

    assert (first.status, first.headers["ETag"]) == (200, '"2"')
    assert (second.status, second.headers["ETag"], (await second.json())["error"]) == (
        412,
        '"2"',
        "precondition_failed",
    )
    assert (await patch('"2", "7"')).status == 200
    assert (await patch("nonsense")).status == 412


async def test_every_change_leaves_who_how_when_and_from_where(api: UsersApi, sql: asyncpg.Connection) -> None:
    ada, token = await api.someone(preferences={"email": True, "push": False})
    admin = await api.admin()
    path = f"/v1/users/{ada['user_id']}/preferences"
    correlated = {"Authorization": f"Bearer {token}", "X-Correlation-ID": "the-consent-of-ada"}
    async with api.session.patch(path, json={"categories": {"news": True}}, headers=correlated) as changed:
        assert changed.status == 200
    await api.call("PUT", path, token=admin, body={"email": False, "push": False, "quiet_hours": NIGHT})

    history = await api.call("GET", f"{path}/history", token=token)

    by_admin, by_ada, first = history.data
    assert [change["source"] for change in history.data] == ["admin", "self", "registration"]
    assert by_admin["preferences"] == (await api.call("GET", path, token=token)).data
    assert by_admin["actor_id"] != ada["user_id"]
    session = await sql.fetchval("SELECT id FROM users.sessions WHERE user_id = $1", ada["user_id"])
    assert (by_ada["actor_id"], by_ada["session_id"], by_ada["correlation_id"]) == (
        ada["user_id"], str(session), "the-consent-of-ada",
    )  # fmt: skip
    assert by_ada["preferences"] == {
        "email": True, "push": False, "categories": {"news": True}, "quiet_hours": None, "version": 2,
    }  # fmt: skip
    assert (first["preferences"]["push"], first["preferences"]["version"]) == (False, 1)
    assert [change["at"] for change in history.data] == sorted((c["at"] for c in history.data), reverse=True)
    second = await api.call("GET", f"{path}/history?page=2&limit=2", token=token)
    assert second.data == [first]
    assert (second.body["meta"]["total"], second.body["meta"]["has_next"]) == (3, False)


async def test_a_refused_change_leaves_no_trace_in_the_history(api: UsersApi) -> None:
    ada, token = await api.someone()
    path = f"/v1/users/{ada['user_id']}/preferences"
    full = {f"c{n}": True for n in range(200)}
    await api.call("PATCH", path, token=token, body={"categories": full})

    assert (await api.call("PATCH", path, token=token, body={"categories": {"one-more": True}})).status == 422

    assert (await api.call("GET", f"{path}/history", token=token)).body["meta"]["total"] == 2


async def test_contacts_and_the_administrator_have_a_first_row_too(api: UsersApi) -> None:
    admin = await api.admin()
    made = await api.call("POST", "/v1/contacts", token=admin, body={"email": f"{uuid4().hex}@example.com"})
    me = await api.call("GET", "/v1/users/me", token=admin)

    for user, source in ((made, "contact"), (me, "registration")):
        path = f"/v1/users/{user.data['user_id']}/preferences/history"
        (change,) = (await api.call("GET", path, token=admin)).data
        assert (change["source"], change["preferences"]["email"]) == (source, True)


async def test_what_had_been_agreed_to_is_known_of_every_moment(api: UsersApi) -> None:
    ada, token = await api.someone()
    path = f"/v1/users/{ada['user_id']}/preferences"
    for number in range(5):
        await api.call("PATCH", path, token=token, body={"categories": {f"c{number}": True}, "quiet_hours": NIGHT})
    history = (await api.call("GET", f"{path}/history", token=token)).data

    for change in history:
        then = await api.call("GET", f"{path}?as_of={change['at'].replace('+', '%2B')}", token=token)
        assert then.data == change["preferences"]
        before = msgspec.convert(change["at"], datetime) - timedelta(microseconds=1)
        then = await api.call("GET", f"{path}?as_of={before.isoformat().replace('+', '%2B')}", token=token)
        version = change["preferences"]["version"]
        assert then.status == (200 if version > 1 else 404)
        if version > 1:
            assert then.data["version"] == version - 1


@pytest.mark.parametrize(
    ("as_of", "status"),
    [
        ("yesterday", 422), ("0.5", 422), ("1700000000", 422), ("2001-01-01", 422),
        ("", 422), ("%00", 422), ("9" * 10_000, 422), ("NaN", 422), ("1e400", 422),
        ("9999-12-31T23:59:59Z", 422), ("2001-02-30T00:00:00Z", 422), ("2001-01-01T00:00:00%2B99:00", 422),
        ("0001-01-01T00:00:00%2B14:00", 404), ("9999-12-31T23:59:59-14:00", 422), ("2001-01-01T00:00:00", 404),
        ("2001-01-01T00:00:00Z&as_of=garbage", 422),
    ],
)  # fmt: skip
async def test_a_time_that_is_none_or_of_no_use_is_refused(api: UsersApi, as_of: str, status: int) -> None:
    ada, token = await api.someone()

    answer = await api.call("GET", f"/v1/users/{ada['user_id']}/preferences?as_of={as_of}", token=token)

    assert answer.status == status, answer.body


async def test_a_time_ahead_is_refused(api: UsersApi) -> None:
    ada, token = await api.someone()
    ahead = (datetime.now(UTC) + timedelta(hours=1)).isoformat().replace("+00:00", "Z")

    answer = await api.call("GET", f"/v1/users/{ada['user_id']}/preferences?as_of={ahead}", token=token)

    assert (answer.status, answer.body["details"][0]["field"]) == (422, "as_of")


async def test_what_another_agreed_to_is_nobodys_business(api: UsersApi) -> None:
    ada, _ = await api.someone()
    _, token = await api.someone()
    path = f"/v1/users/{ada['user_id']}/preferences"
    questions: list[tuple[str, str, Any]] = [
        ("GET", path, None),
        ("GET", f"{path}?as_of=2001-01-01T00:00:00Z", None),
        ("GET", f"{path}/history", None),
        ("GET", f"/v1/users/{uuid4()}/preferences/history", None),
        ("PUT", path, {"email": False, "push": False}),
        ("PATCH", path, {"quiet_hours": NIGHT}),
    ]
    for method, where, body in questions:
        answer = await api.call(method, where, token=token, body=body)

        assert (answer.status, answer.body["error"]) == (404, "user_not_found"), (method, where)
    for query in ("page=0", "limit=101", "limit=1e9", "page=" + "9" * 5000):
        assert (await api.call("GET", f"{path}/history?{query}", token=token)).status == 422
    kept = await api.call("GET", path, token=await api.admin())
    assert (kept.data["version"], kept.data["quiet_hours"]) == (1, None)


async def test_hostile_bytes_are_refused_and_change_nothing(api: UsersApi) -> None:
    ada, token = await api.someone()
    path = f"/v1/users/{ada['user_id']}/preferences"
    for method in ("PATCH", "PUT"):
        for raw, status in RAW:
            answer = await api.call(method, path, token=token, raw=raw)

            assert answer.status == status or (method == "PUT" and answer.status == 422), raw[:60]

    assert (await api.call("GET", path, token=token)).data["version"] == 1
    twice = await api.call("PATCH", path, token=token, raw=b'{"email": true, "email": false}')
    assert (twice.status, twice.data["email"]) == (200, False), "of a key given twice the last one counts"


async def test_changes_at_once_leave_one_row_each_in_the_order_of_their_versions(api: UsersApi) -> None:
    ada, token = await api.someone()
    path = f"/v1/users/{ada['user_id']}/preferences"

    await asyncio.gather(
        *(api.call("PATCH", path, token=token, body={"categories": {f"c{n}": {"email": True}}}) for n in range(20))
    )

    history = (await api.call("GET", f"{path}/history?limit=100", token=token)).data
    assert [change["preferences"]["version"] for change in history] == list(range(21, 0, -1))
    assert [len(change["preferences"]["categories"]) for change in history] == list(range(20, -1, -1))
