"""What no well-meaning client sends to users: each is refused in the envelope, nothing changes, nothing leaks."""

import asyncio
import json
from typing import Any
from urllib.parse import quote

import asyncpg

from tests.integration.users.client import PASSWORD, UsersApi

CLAIMED: list[dict[str, Any]] = [
    {"roles": ["admin"]},
    {"role": "admin"},
    {"is_admin": True},
    {"admin": True},
    {"permissions": ["users:*"]},
    {"email_verified": True},
    {"email_verified_at": "2026-01-01T00:00:00Z"},
    {"id": "01a1d1a0-0000-7000-8000-000000000001"},
    {"user_id": "01a1d1a0-0000-7000-8000-000000000001"},
    {"status": "active"},
    {"version": 9},
    {"token_version": 9},
    {"password_hash": "x"},
    {"created_at": "2026-01-01T00:00:00Z"},
    {"__proto__": {"is_admin": True}},
]
HIDDEN = [
    "A\r\nBcc: eve@example.com",
    "A\nB",
    "A\tB",
    "A\x00B",
    "\x1b[31mA",
    "\u202eadA",
    "A\u2066b\u2069",
    "\u200fA",
    "A\u200bda",
    "\ufeffAda",
    "A\u2060da",
    "A\u00adda",
    "\u200d",
    " ",
    "\u2028",
]
BROKEN = [
    b'{"name": "\\ud800"}',
    b'{"name": "\\udfff\\ud800"}',
    b'{"name": "\xed\xa0\x80"}',
    b'{"name": "\xff"}',
    b'{"name": NaN}',
    b'{"name": Infinity}',
    b'{"a":' * 100_000,
    b"[" * 100_000,
    b'{"name": "A"',
    b'{"name": "A"} {"name": "B"}',
    b"\x00",
    b"",
    b'\xef\xbb\xbf{"name": "A"}',
    b"{'name': 'A'}",
    b'{"name": "A\x00"}',
    b'{"name": "A\nB"}',
]
ODD = [
    b'{"name": 1e999}',
    b'{"name": ' + b"9" * 10_000 + b"}",
    b'{"name": -0.0}',
    b'{"name": ["A"]}',
    b'{"name": {"$ne": 1}}',
    b'{"name": "\\u0000"}',
    b'{"attributes": {"a": "\\u0000"}}',
    b'{"attributes": {"\\u0000": 1}}',
    b'["name"]',
    b'"name"',
    b"1",
    b'{"attributes": ' + b'{"a":' * 50 + b"1" + b"}" * 51,
]


async def test_nobody_gives_themselves_what_is_not_theirs_to_give(api: UsersApi, sql: asyncpg.Connection) -> None:
    ada, token = await api.someone()
    admin = await api.admin()
    count = await sql.fetchval("SELECT count(*) FROM users.users")

    for claim in CLAIMED:
        for answer in (
            await api.register(**claim),
            await api.call("PATCH", f"/v1/users/{ada['user_id']}", token=token, body={"name": "Eve", **claim}),
            await api.call("POST", "/v1/contacts", token=admin, body={"email": "eve@example.com", **claim}),
        ):
            assert (answer.status, answer.body["error"]) == (422, "validation_failed"), claim
            assert answer.body["details"][0]["field"] == next(iter(claim))

    assert (await api.call("GET", "/v1/users/me", token=token)).data == ada
    assert await sql.fetchval("SELECT count(*) FROM users.users") == count
    assert (await api.call("GET", "/v1/users", token=token)).status == 403


async def test_names_that_hide_something_are_refused_wherever_a_name_is_taken(api: UsersApi) -> None:
    ada, token = await api.someone()
    admin = await api.admin()

    for name in HIDDEN:
        for answer in (
            await api.register(name=name),
            await api.call("PATCH", f"/v1/users/{ada['user_id']}", token=token, body={"name": name}),
            await api.call("POST", "/v1/contacts", token=admin, body={"email": "eve@example.com", "name": name}),
        ):
            assert (answer.status, answer.body["details"][0]["field"]) == (422, "name"), repr(name)
    assert (await api.call("GET", "/v1/users/me", token=token)).data == ada


async def test_bodies_that_are_no_json_or_another_are_refused_and_change_nothing(api: UsersApi) -> None:
    ada, token = await api.someone()
    path = f"/v1/users/{ada['user_id']}"

    for status, bodies in ((400, BROKEN), (422, ODD)):
        for raw in bodies:
            answer = await api.call("PATCH", path, token=token, raw=raw)
            assert (answer.status, answer.body["success"]) in {(status, False), (400, False)}, (raw[:60], answer.body)
    assert (await api.call("GET", path, token=token)).data == ada


async def test_of_a_key_that_comes_twice_the_last_counts_and_is_checked(api: UsersApi) -> None:
    ada, token = await api.someone()
    path = f"/v1/users/{ada['user_id']}"

    taken = await api.call("PATCH", path, token=token, raw=b'{"name": "First", "name": "Second"}')
    refused = await api.call("PATCH", path, token=token, raw=b'{"name": "Third", "name": "\\u202e"}')

    assert (taken.data["name"], refused.status) == ("Second", 422)
    assert (await api.call("GET", path, token=token)).data["name"] == "Second"


async def test_signs_of_other_languages_mean_themselves_in_a_search(api: UsersApi) -> None:
    names = ("100% Ada", "A_da", "A\\da", "O'Ada; DROP TABLE users.users;--", "Ada.*")
    made = {name: (await api.register(name=name)).data["user_id"] for name in names}
    admin = await api.admin()

    for text, found in (("%", names[:1]), ("_", names[1:2]), ("\\", names[2:3]), ("'", names[3:4]), (".*", names[4:])):
        answer = await api.call("GET", f"/v1/users?name={quote(text)}", token=admin)
        assert {user["user_id"] for user in answer.data} == {made[name] for name in found}, text


async def test_queries_that_ask_for_too_much_or_for_what_there_is_not(api: UsersApi) -> None:
    _, token = await api.someone()
    admin = await api.admin()

    for query in ("limit=1e9", "limit=1000000000", "limit=0", "limit=-1", "limit=101", "limit=" + "9" * 5000,
                  "page=0", "page=" + "9" * 400, "page=NaN", "is_admin=true", "order_by=password_hash", "name=a&sort=x",
                  "status=erased", "status=%00", "email=%00"):  # fmt: skip
        answer = await api.call("GET", f"/v1/users?{query}", token=admin)
        assert (answer.status, answer.body["error"]) == (422, "validation_failed"), query[:40]
        assert query.rpartition("&")[2].startswith(answer.body["details"][0]["field"])
    for path in ("/v1/users/me?token=x", "/v1/users/me?user_id=x", "/v1/users/me?access_token=" + token):
        refused = await api.call("GET", path, token=token)
        assert (refused.status, token in str(refused.body)) == (422, False)
        assert (await api.call("GET", path)).status == 401, "a token in an address is no token"


async def test_oversized_bodies_are_refused_before_they_are_read_and_leave_nothing(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    count = await sql.fetchval("SELECT count(*) FROM users.users")
    large = json.dumps({"name": "A", "email": "a@example.com", "password": "x" * (1 << 21)}).encode()

    async def dripping() -> Any:
        for start in range(0, len(large), 65_536):
            yield large[start : start + 65_536]

    async with api.session.post("/v1/users", data=dripping(), headers={"Content-Type": "application/json"}) as answer:
        assert (answer.status, (await answer.json())["error"]) == (413, "body_too_large")
    long_password = await api.register(password="x" * 900_000)
    assert (long_password.status, long_password.body["details"][0]["field"]) == (422, "password")
    assert await sql.fetchval("SELECT count(*) FROM users.users") == count


async def test_a_request_that_never_ends_hinders_nobody_and_makes_nothing(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    url = api.session._base_url
    assert url is not None
    count = await sql.fetchval("SELECT count(*) FROM users.users")
    body = json.dumps({"name": "Slow", "email": "slow@example.com", "password": PASSWORD}).encode()
    head = b"POST /v1/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(
        body
    )
    slow = [await asyncio.open_connection(url.host, url.port) for _ in range(20)]
    for _, writer in slow:
        writer.write(head + body[:-1])

    answers = [await api.register() for _ in range(3)]

    assert [answer.status for answer in answers] == [201] * 3
    for _, writer in slow:
        writer.close()
    assert await sql.fetchval("SELECT count(*) FROM users.users") == count + 3


async def test_spellings_of_one_address_registered_at_once_make_one_person(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    spelled = [
        "jos\u00e9@b\u00fccher.example.com",
        "jose\u0301@b\u00fccher.example.com",
        "JOS\u00c9@B\u00dcCHER.example.com",
        "jose\u0301@bu\u0308cher.example.com",
        "jos\u00e9@xn--bcher-kva.example.com",
        "Jos\u00e9@XN--BCHER-KVA.example.com",
        "jos\u00e9@b\u00fccher\u3002example.com",
    ]

    answers = await asyncio.gather(*(api.register(email=email) for email in spelled * 3))

    assert sorted(answer.status for answer in answers) == [201] + [409] * 20, [a.body for a in answers]
    assert await sql.fetchval("SELECT count(*) FROM users.users WHERE email_key LIKE 'jos%'") == 1
