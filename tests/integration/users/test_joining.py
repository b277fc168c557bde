"""Registering and contacts: one person per address, whatever arrives and however many at once."""

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from carillon.users.settings import UsersSettings
from tests.integration.users.client import PASSWORD, UsersApi
from tests.integration.users.conftest import running

HOSTILE: list[dict[str, Any]] = [
    {"roles": ["admin"]},
    {"role": "admin"},
    {"permissions": ["users:*"]},
    {"status": "active"},
    {"user_id": "00000000-0000-0000-0000-000000000000"},
    {"version": 99},
    {"email_verified": True},
    {"preferences": {"email": True, "sms": True}},
    {"preferences": {"email": "yes"}},
    {"preferences": []},
    {"password": "short"},
    {"password": "x" * 257},
    {"password": "nul\x00" + PASSWORD},
    {"password": None},
    {"name": ""},
    {"name": "   "},
    {"name": "Ada\r\nBcc: all@example.com"},
    {"name": "Ada\x00"},
    {"name": "Ada\u202egpj.exe"},
    {"name": "\u2066Ada"},
    {"name": "x" * 201},
    {"name": "x" * 1_000_000},
    {"name": 5},
    {"email": "no address"},
    {"email": "ada@example.com\x00"},
    {"email": "ada@example.com\r\nBcc: all@example.com"},
    {"email": "a" * 1_000_000 + "@example.com"},
    {"push_token": ""},
    {"push_token": "two words"},
    {"push_token": "nul\x00"},
    {"push_token": "x" * 2049},
]


async def test_a_person_registers_by_the_brief_and_is_shown_without_password(api: UsersApi) -> None:
    answer = await api.register(
        name="Ada Lovelace", email="Ada@Example.com", push_token="device-1", preferences={"email": True, "push": False}
    )

    assert answer.status == 201
    user = answer.data
    assert (user["name"], user["email"], user["push_token"]) == ("Ada Lovelace", "Ada@example.com", "device-1")
    assert user["preferences"] == {"email": True, "push": False}
    assert user["status"] == "active"
    assert "password" not in str(answer.body)
    assert "argon2" not in str(answer.body)


@pytest.mark.parametrize("path", ["/api/v1/users", "/v1/users/", "/api/v1/auth/register/", "/v1/users/register"])
async def test_every_spelling_of_registration_is_the_same(api: UsersApi, path: str) -> None:
    body = {"name": "Ada", "email": "ada@example.com", "password": PASSWORD, "push_token": None, "preferences": None}

    answer = await api.call("POST", path, body=body)

    assert answer.status == 201
    assert answer.data["preferences"] == {"email": True, "push": True}
    assert answer.data["push_token"] is None


async def test_of_fifty_who_register_one_address_at_once_one_gets_it(api: UsersApi, sql: asyncpg.Connection) -> None:
    spellings = ["ada@example.com", "ADA@example.com", "Ada@EXAMPLE.com"]

    answers = await asyncio.gather(*(api.register(email=spellings[n % 3]) for n in range(50)))

    assert sorted(answer.status for answer in answers) == [201] + [409] * 49
    assert {answer.body["error"] for answer in answers if answer.status == 409} == {"email_taken"}
    assert await sql.fetchval("SELECT count(*) FROM users.users WHERE email_key = 'ada@example.com'") == 1
    assert await sql.fetchval("SELECT count(*) FROM users.notification_preferences") == 2


async def test_what_may_not_be_said_is_refused_and_nobody_is_made(api: UsersApi, sql: asyncpg.Connection) -> None:
    for field in HOSTILE:
        answer = await api.register(**field)

        assert (answer.status, answer.body["error"]) == (422, "validation_failed"), str(field)[:80]
        assert answer.body["details"][0]["field"].partition(".")[0] in field
    assert await sql.fetchval("SELECT count(*) FROM users.users") == 1


async def test_half_a_surrogate_pair_is_never_our_fault(api: UsersApi) -> None:
    for text in (rb"\ud800", rb"Ada \udfff", b"\xed\xa0\x80", rb"\u0000"):
        raw = b'{"name": "%s", "email": "ada@example.com", "password": "%s"}' % (text, PASSWORD.encode())

        assert (await api.call("POST", "/v1/users", raw=raw)).status in {400, 422}, text


async def test_closed_registration_makes_nobody(settings: UsersSettings, tmp_path: Path) -> None:
    closed = msgspec.structs.replace(settings, registration="closed")
    async with running(closed, tmp_path) as (api, _):
        answer = await api.register()
        assert (answer.status, answer.body["error"]) == (403, "registration_closed")

        made = await api.call("POST", "/v1/contacts", token=await api.admin(), body={"email": "ada@example.com"})
        assert made.status == 201, "the operator still makes contacts"


async def test_registrations_are_limited_by_client_address(settings: UsersSettings, tmp_path: Path) -> None:
    limited = msgspec.structs.replace(settings, registrations_per_minute=2)
    async with running(limited, tmp_path) as (api, _):
        first = await api.register()
        assert (first.status, first.headers["RateLimit-Policy"]) == (201, '"registrations";q=2;w=60')
        assert first.headers["RateLimit"].startswith('"registrations";r=1;')
        taken = await api.register(email=first.data["email"])
        assert (taken.status, taken.headers["RateLimit"][:20]) == (409, '"registrations";r=0;')

        answer = await api.register()

    assert (answer.status, answer.body["error"]) == (429, "rate_limited")
    assert 1 <= int(answer.headers["Retry-After"]) <= 31


async def test_a_contact_is_made_once_and_found_ever_after(api: UsersApi) -> None:
    admin = await api.admin()
    body = {"email": "Bob@example.com", "name": "Bob", "attributes": {"city": "Ghent"}}

    answers = await asyncio.gather(*(api.call("POST", "/v1/contacts", token=admin, body=body) for _ in range(20)))
    again = await api.call("POST", "/v1/contacts", token=admin, body={"email": "bob@EXAMPLE.com", "name": "Robert"})

    assert sorted(answer.status for answer in answers) == [200] * 19 + [201]
    assert {answer.data["user_id"] for answer in (*answers, again)} == {again.data["user_id"]}
    assert (again.status, again.data["name"], again.data["attributes"]) == (200, "Bob", {"city": "Ghent"})


async def test_a_contact_has_no_password_and_an_existing_person_stays_as_they_are(api: UsersApi) -> None:
    admin = await api.admin()
    ada, _ = await api.someone(name="Ada")

    made = await api.call("POST", "/v1/contacts", token=admin, body={"email": "bob@example.com"})
    found = await api.call("POST", "/v1/contacts", token=admin, body={"email": ada["email"], "name": "Eve"})

    assert (made.data["name"], made.data["preferences"]) == ("bob", {"email": True, "push": True})
    assert (await api.log_in("bob@example.com", "")).status == 401
    assert (found.status, found.data["name"]) == (200, "Ada")


async def test_a_contact_that_could_not_be_kept_is_refused(api: UsersApi) -> None:
    admin = await api.admin()
    bodies: list[dict[str, Any]] = [
        {"email": "nobody"},
        {"attributes": {"a": "\x00"}},
        {"attributes": {"a": "x" * 20_000}},
        {"attributes": []},
        {"name": "a\nb"},
        {"password": PASSWORD},
    ]
    for body in bodies:
        answer = await api.call("POST", "/v1/contacts", token=admin, body={"email": "a@example.com", **body})

        assert answer.status == 422
        assert answer.body["details"][0]["field"] in body


async def test_only_who_may_write_users_makes_contacts(api: UsersApi) -> None:
    _, token = await api.someone()

    for bearer, status in ((token, 403), (api.service_token("gateway"), 403), ("", 401)):
        answer = await api.call("POST", "/v1/contacts", token=bearer, body={"email": "bob@example.com"})
        assert answer.status == status
