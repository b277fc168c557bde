"""Users seen and listed: one's own or with permission, and filters that mean what they say."""

from typing import Any
from urllib.parse import quote
from uuid import uuid4

import asyncpg
import pytest

from tests.integration.users.client import UsersApi


async def test_one_sees_oneself_and_nobody_else(api: UsersApi) -> None:
    ada, token = await api.someone(name="Ada")
    bob, _ = await api.someone(name="Bob")

    own = await api.call("GET", f"/v1/users/{ada['user_id']}", token=token)
    assert own.data == ada == (await api.call("GET", "/v1/users/me", token=token)).data
    other = await api.call("GET", f"/v1/users/{bob['user_id']}", token=token)
    nobody = await api.call("GET", f"/v1/users/{uuid4()}", token=token)

    assert (other.status, nobody.status) == (404, 404)
    assert other.body == nobody.body, "somebody else and nobody look alike"
    assert other.body["error"] == "user_not_found"
    assert (await api.call("GET", f"/v1/users/{bob['user_id']}")).status == 401
    admin = await api.call("GET", f"/v1/users/{bob['user_id']}", token=await api.admin())
    assert admin.data["name"] == "Bob"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "preferences", None),
        ("PUT", "preferences", {"email": False, "push": False}),
        ("PATCH", "preferences", {"email": False}),
        ("PUT", "push_token", {"push_token": "stolen"}),
    ],
)
async def test_what_is_somebody_elses_is_not_found_and_not_changed(
    api: UsersApi, sql: asyncpg.Connection, method: str, path: str, body: Any
) -> None:
    _, token = await api.someone()
    bob, _ = await api.someone(push_token="bobs-device")

    strangers = (token, api.credentials["application_token"], api.service_token("gateway"))
    answers = [
        await api.call(method, f"/v1/users/{bob['user_id']}/{path}", token=bearer, body=body) for bearer in strangers
    ]

    assert [answer.status for answer in answers] == [404, 404, 404]
    admin = await api.admin()
    assert (await api.call("GET", f"/v1/users/{bob['user_id']}", token=admin)).data == bob
    assert await sql.fetchval("SELECT count(*) FROM users.outbox") == 0
    assert (await api.call(method, f"/v1/users/{uuid4()}/{path}", token=admin, body=body)).status == 404
    assert (await api.call(method, f"/v1/users/{bob['user_id']}/{path}", token=admin, body=body)).status == 200


async def test_a_token_of_no_user_has_no_me(api: UsersApi) -> None:
    assert (await api.call("GET", "/v1/users/me", token=api.credentials["application_token"])).status == 404


async def test_the_list_has_pages_and_an_exact_total(api: UsersApi) -> None:
    admin = await api.admin()
    made = [(await api.register(name=f"User {number}")).data["user_id"] for number in range(5)]

    first = await api.call("GET", "/v1/users?limit=4", token=admin)
    second = await api.call("GET", "/v1/users?limit=4&page=2", token=admin)
    beyond = await api.call("GET", "/v1/users?limit=4&page=3", token=admin)

    assert first.body["meta"] == {
        "total": 6, "limit": 4, "page": 1, "total_pages": 2, "has_next": True, "has_previous": False,
    }  # fmt: skip
    assert [user["user_id"] for user in first.data] == made[:0:-1], "the newest first"
    assert second.data[0]["user_id"] == made[0]
    assert (len(second.data), second.body["meta"]["has_next"], second.body["meta"]["has_previous"]) == (2, False, True)
    assert (beyond.data, beyond.body["meta"]["total"]) == ([], 6)


async def test_filters_are_literal_text_in_any_case(api: UsersApi, sql: asyncpg.Connection) -> None:
    admin = await api.admin()
    for name, email in (
        ("100% Ada", "ada_b@example.com"),
        ("Grace_Hopper", "grace@navy.example"),
        ("Back\\slash", "adaxb@example.com"),
    ):
        await api.register(name=name, email=email)
    await sql.execute("UPDATE users.users SET status = 'suspended' WHERE name = 'Grace_Hopper'")

    async def names(query: str) -> set[str]:
        answer = await api.call("GET", f"/v1/users?{query}", token=admin)
        assert answer.body["meta"]["total"] == len(answer.data)
        return {user["name"] for user in answer.data}

    assert await names("name=%25") == {"100% Ada"}
    assert await names("name=_") == {"Grace_Hopper"}
    assert await names("name=" + quote("\\")) == {"Back\\slash"}
    assert await names("name=hopper") == {"Grace_Hopper"}
    assert await names("name=" + quote("' OR true --")) == set()
    assert await names("email=a_b") == {"100% Ada"}
    assert await names("email=" + quote("ADA_B@Example.com")) == {"100% Ada"}
    assert await names("status=suspended") == {"Grace_Hopper"}
    assert await names("status=active&email=example.com&name=a") == {"100% Ada", "Back\\slash"}


async def test_a_parameter_that_makes_no_sense_is_refused(api: UsersApi) -> None:
    admin = await api.admin()
    queries = [
        "page=0", "page=-1", "page=x", "page=99999999999999999999", "limit=0", "limit=101", "limit=1.5",
        "status=erased", "status=x", "name=%00", "email=a%00b", "name=" + "x" * 321,
    ]  # fmt: skip
    for query in queries:
        answer = await api.call("GET", f"/v1/users?{query}", token=admin)

        assert (answer.status, answer.body["error"]) == (422, "validation_failed"), query
        assert answer.body["details"][0]["field"] == query.partition("=")[0]


async def test_a_language_is_given_on_joining_changed_later_and_told_to_who_delivers(api: UsersApi) -> None:
    ada, token = await api.someone(locale="pt-BR")
    path, worker = f"/v1/users/{ada['user_id']}", api.service_token("email_worker")

    async def told() -> str | None:
        found = await api.call("GET", f"{path}/contact?channel=email", token=worker)
        locale: str | None = found.data["locale"]
        return locale

    assert (ada["locale"], await told()) == ("pt-BR", "pt-BR")
    changed = await api.call("PATCH", path, token=token, body={"locale": "fr"})
    assert (changed.data["locale"], changed.data["version"], await told()) == ("fr", ada["version"] + 1, "fr")
    unset = await api.call("PATCH", path, token=await api.admin(), body={"locale": None})
    assert (unset.data["locale"], await told()) == (None, None)


async def test_a_contact_brings_a_language_only_when_new(api: UsersApi) -> None:
    admin, body = await api.admin(), {"email": "bob@example.com", "locale": "de"}

    made = await api.call("POST", "/v1/contacts", token=admin, body=body)
    found = await api.call("POST", "/v1/contacts", token=admin, body={**body, "locale": "fr"})

    assert (made.status, made.data["locale"], found.status, found.data["locale"]) == (201, "de", 200, "de")
