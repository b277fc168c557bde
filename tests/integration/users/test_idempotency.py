"""A create that is sent again with its key makes nothing twice, and tells nobody what is not theirs."""

import asyncio
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from carillon.kit.database import open_database
from carillon.users.store.idempotency import IdempotencyKeys
from tests.integration.users.client import PASSWORD, UsersApi

REGISTRATION = {"name": "Ada", "email": "ada@example.com", "password": PASSWORD}
ROLE = {"name": "support", "description": "Answers people", "permissions": ["users:read"]}
TOKEN = {"name": "reporting", "abilities": ["notifications:read"], "expires_in_days": 7}
APPLICATION = {"name": "shop"}
CONTACT = {"email": "bob@example.com", "attributes": {"plan": "free"}}

creates = pytest.mark.parametrize(
    ("path", "body", "other", "key"),
    [
        ("/v1/users", REGISTRATION, {**REGISTRATION, "name": "Eve"}, "user_id"),
        ("/v1/roles", ROLE, {**ROLE, "permissions": []}, "role_id"),
        ("/v1/contacts", CONTACT, {**CONTACT, "attributes": {}}, "user_id"),
        ("/v1/auth/tokens", TOKEN, {**TOKEN, "expires_in_days": 8}, "token_id"),
        ("/v1/applications", APPLICATION, {"name": "other"}, "application_id"),
    ],
)


@creates
async def test_the_same_key_and_body_make_one_thing_and_another_body_is_refused(
    api: UsersApi, path: str, body: Any, other: Any, key: str
) -> None:
    admin, headers = await api.admin(), {"Idempotency-Key": "once"}

    first = await api.call("POST", path, token=admin, body=body, headers=headers)
    again = await api.call("POST", path, token=admin, body=body, headers=headers)
    differing = await api.call("POST", path, token=admin, body=other, headers=headers)

    assert (first.status, again.status) == (201, 200), (first.body, again.body)
    assert again.data[key] == first.data[key]
    assert (again.headers.get("Idempotency-Replayed"), first.headers.get("Idempotency-Replayed")) == ("true", None)
    assert (differing.status, differing.body["error"]) == (409, "idempotency_key_reused")


@creates
async def test_twenty_at_once_make_one_thing(
    api: UsersApi, sql: asyncpg.Connection, path: str, body: Any, other: Any, key: str
) -> None:
    del other
    admin, headers = await api.admin(), {"Idempotency-Key": uuid4().hex}

    answers = await asyncio.gather(
        *(api.call("POST", path, token=admin, body=body, headers=headers) for _ in range(20))
    )

    assert sorted(answer.status for answer in answers) == [200] * 19 + [201]
    assert len({answer.data[key] for answer in answers}) == 1
    assert await sql.fetchval("SELECT count(*) FROM users.idempotency_keys") == 1


async def test_the_answer_shows_the_resource_as_it_is_now(api: UsersApi) -> None:
    admin, headers = await api.admin(), {"Idempotency-Key": "once"}
    made = (await api.call("POST", "/v1/roles", token=admin, body=ROLE, headers=headers)).data
    path = f"/v1/roles/{made['role_id']}"
    await api.call("PATCH", path, token=admin, body={"description": "New words"})

    again = await api.call("POST", "/v1/roles", token=admin, body=ROLE, headers=headers)

    assert (again.data["description"], again.headers["ETag"]) == ("New words", '"2"')
    await api.call("DELETE", path, token=admin)
    gone = await api.call("POST", "/v1/roles", token=admin, body=ROLE, headers=headers)
    assert (gone.status, gone.body["error"]) == (404, "role_not_found")


async def test_the_secret_of_a_token_is_not_shown_again(api: UsersApi) -> None:
    admin, headers = await api.admin(), {"Idempotency-Key": "once"}
    made = (await api.call("POST", "/v1/applications", token=admin, body=APPLICATION)).data
    for path in ("/v1/auth/tokens", f"/v1/applications/{made['application_id']}/tokens"):
        first = await api.call("POST", path, token=admin, body={**TOKEN, "name": path[-40:]}, headers=headers)
        again = await api.call("POST", path, token=admin, body={**TOKEN, "name": path[-40:]}, headers=headers)
        assert (first.status, again.status, again.data["token"]) == (201, 200, None), again.body
        assert first.data["token"].startswith("crl_")
        assert {**again.data, "token": first.data["token"]} == first.data
        await api.call("DELETE", f"{path}/{first.data['token_id']}", token=admin)
        gone = await api.call("POST", path, token=admin, body={**TOKEN, "name": path[-40:]}, headers=headers)
        assert (gone.status, gone.body["error"]) == (404, "token_not_found")
        headers = {"Idempotency-Key": "another"}


async def test_a_registration_is_replayed_only_for_whoever_knows_the_password(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    headers = {"Idempotency-Key": "once"}
    await api.call("POST", "/v1/users", body=REGISTRATION, headers=headers)

    guessed = await api.call("POST", "/v1/users", body={**REGISTRATION, "password": "a wild guess"}, headers=headers)
    keyless = await api.call("POST", "/v1/users", body=REGISTRATION)
    other_key = await api.call("POST", "/v1/users", body=REGISTRATION, headers={"Idempotency-Key": "twice"})

    for answer in (guessed, keyless, other_key):
        assert (answer.status, answer.body["error"]) == (409, "email_taken")
    assert await sql.fetchval("SELECT count(*) FROM users.users WHERE email_key = 'ada@example.com'") == 1
    assert await sql.fetchval("SELECT count(*) FROM users.idempotency_keys") == 1, "what failed claims no key"


async def test_keys_are_each_callers_own(api: UsersApi) -> None:
    admin = await api.admin()
    ada = (await api.register()).data
    await api.call("PUT", f"/v1/users/{ada['user_id']}/roles", token=admin, body={"roles": ["admin"]})
    other = (await api.log_in(ada["email"])).data["access_token"]
    headers = {"Idempotency-Key": "once"}

    first = await api.call("POST", "/v1/roles", token=admin, body=ROLE, headers=headers)
    second = await api.call("POST", "/v1/roles", token=other, body=ROLE, headers=headers)

    assert (first.status, second.status, second.body["error"]) == (201, 409, "role_name_taken")


async def test_a_key_that_is_none_is_refused(api: UsersApi) -> None:
    for key in ("x" * 256, "two words", "caf\u00e9"):
        answer = await api.call("POST", "/v1/users", body=REGISTRATION, headers={"Idempotency-Key": key})
        assert (answer.status, answer.body["error"]) == (422, "validation_failed"), key
    assert (
        await api.call("POST", "/v1/users", body=REGISTRATION, headers={"Idempotency-Key": "x" * 255})
    ).status == 201


async def test_a_key_is_good_for_a_day_and_then_dropped(api: UsersApi, sql: asyncpg.Connection, database: str) -> None:
    admin, headers = await api.admin(), {"Idempotency-Key": "once"}
    await api.call("POST", "/v1/roles", token=admin, body=ROLE, headers=headers)
    await sql.execute("UPDATE users.idempotency_keys SET created_at = now() - interval '25 hours'")

    late = await api.call("POST", "/v1/roles", token=admin, body={**ROLE, "name": "later"}, headers=headers)

    assert late.status == 201
    await sql.execute("UPDATE users.idempotency_keys SET created_at = now() - interval '25 hours'")
    async with open_database(database, name="test") as kept:
        assert await IdempotencyKeys(kept).drop_old_keys(older_than_seconds=86_400, limit=10) == 1
    assert await sql.fetchval("SELECT count(*) FROM users.idempotency_keys") == 0
