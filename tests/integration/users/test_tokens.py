"""Personal access tokens and applications over HTTP: shown once, never more than their maker holds, revoked at once."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from carillon.kit.ids import uuid7
from carillon.users.settings import UsersSettings
from tests.integration.users.client import Answer, UsersApi
from tests.integration.users.conftest import running
from tests.support.waiting import eventually

WANTED = {"name": "reporting", "abilities": ["users:read"], "expires_in_days": 90}


async def reader(api: UsersApi, sql: asyncpg.Connection) -> tuple[dict[str, Any], str]:
    """Somebody who holds `users:read` and `templates:*`, and their access token."""
    user = (await api.register()).data
    await sql.execute(
        "INSERT INTO users.user_permissions SELECT $1, id FROM users.permissions "
        "WHERE name IN ('users:read', 'templates:*')", UUID(user["user_id"]),
    )  # fmt: skip
    return user, (await api.log_in(user["email"])).data["access_token"]


async def lists(api: UsersApi, token: str) -> int:
    return (await api.call("GET", "/v1/users", token=token)).status


async def said_of(api: UsersApi, token: str) -> Any:
    gateway = api.service_token("gateway")
    return (await api.call("POST", "/v1/auth/introspect", token=gateway, body={"token": token})).data


async def test_a_token_does_what_it_was_made_for_and_its_secret_is_shown_once(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    user, login = await reader(api, sql)

    made = await api.call("POST", "/v1/auth/tokens", token=login, body=WANTED)

    assert made.status == 201
    token = made.data["token"]
    assert token.startswith("crl_")
    assert await lists(api, token) == 200
    said = await said_of(api, token)
    assert (said["caller_id"], said["kind"], said["permissions"]) == (user["user_id"], "user", ["users:read"])
    listed = await api.call("GET", "/v1/auth/tokens", token=login)
    secret = token.split("_", 2)[2][:43]
    assert secret not in str(listed.body)
    assert [set(one) for one in listed.data] == [
        {"token_id", "name", "abilities", "created_at", "expires_at", "last_used_at"}
    ]
    assert secret not in str([dict(row) for row in await sql.fetch("SELECT * FROM users.personal_access_tokens")])


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"abilities": []}, "abilities"),
        ({"abilities": ["*"]}, "abilities"),
        ({"abilities": ["users:*"]}, "users:*"),
        ({"abilities": ["users:read", "users:write", "roles:read"]}, "roles:read, users:write"),
        ({"abilities": ["users:read\n"]}, "abilities"),
        ({"abilities": ["users:?ead"]}, "abilities"),
        ({"abilities": None}, "abilities"),
        ({"expires_in_days": 0}, "expires_in_days"),
        ({"expires_in_days": 367}, "expires_in_days"),
        ({"expires_in_days": None}, "expires_in_days"),
        ({"expires_in_days": "90"}, "expires_in_days"),
        ({"name": ""}, "name"),
        ({"name": "a\r\nb"}, "name"),
        ({"user_id": str(uuid7())}, "user_id"),
    ],
)
async def test_nobody_makes_a_token_for_ever_for_everything_or_for_more_than_they_hold(
    api: UsersApi, sql: asyncpg.Connection, changed: dict[str, Any], named: str
) -> None:
    _, login = await reader(api, sql)

    answer = await api.call("POST", "/v1/auth/tokens", token=login, body={**WANTED, **changed})

    assert answer.status == 422
    assert named in str(answer.body)
    assert await sql.fetchval("SELECT count(*) FROM users.personal_access_tokens WHERE user_id IS NOT NULL") == 0


async def test_a_wildcard_that_is_held_can_be_given_and_so_can_what_it_covers(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    _, login = await reader(api, sql)
    for abilities in (["templates:*"], ["templates:write", "users:read"]):
        made = await api.call("POST", "/v1/auth/tokens", token=login, body={**WANTED, "abilities": abilities})
        assert (made.status, made.data["abilities"]) == (201, abilities)


async def test_only_who_logged_in_makes_sees_and_revokes_tokens(api: UsersApi, sql: asyncpg.Connection) -> None:
    _, login = await reader(api, sql)
    made = (await api.call("POST", "/v1/auth/tokens", token=login, body=WANTED)).data

    for bearer in (made["token"], api.credentials["application_token"], api.service_token("gateway")):
        for method, path, body in (
            ("GET", "/v1/auth/tokens", None),
            ("POST", "/v1/auth/tokens", WANTED),
            ("DELETE", f"/v1/auth/tokens/{made['token_id']}", None),
        ):
            assert (await api.call(method, path, token=bearer, body=body)).status == 403
    assert await lists(api, made["token"]) == 200


async def test_a_revoked_token_is_out_at_once_and_anothers_token_is_none(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    _, login = await reader(api, sql)
    _, stranger = await api.someone()
    made = (await api.call("POST", "/v1/auth/tokens", token=login, body=WANTED)).data
    assert await lists(api, made["token"]) == 200
    path = f"/v1/auth/tokens/{made['token_id']}"

    assert (await api.call("DELETE", path, token=stranger)).status == 404
    assert (await api.call("GET", "/v1/auth/tokens", token=stranger)).data == []
    assert await lists(api, made["token"]) == 200

    assert (await api.call("DELETE", path, token=login)).status == 200
    assert await lists(api, made["token"]) == 401
    assert (await api.call("DELETE", path, token=login)).status == 404
    assert (await api.call("GET", "/v1/auth/tokens", token=login)).data == []


async def test_a_token_never_does_more_than_its_owner_still_may(api: UsersApi, sql: asyncpg.Connection) -> None:
    user, login = await reader(api, sql)
    made = (await api.call("POST", "/v1/auth/tokens", token=login, body=WANTED)).data

    await sql.execute("DELETE FROM users.user_permissions WHERE user_id = $1", UUID(user["user_id"]))
    assert (await said_of(api, made["token"]))["permissions"] == []

    await sql.execute("UPDATE users.users SET status = 'suspended' WHERE id = $1", UUID(user["user_id"]))
    assert (await said_of(api, made["token"]))["active"] is False


async def test_one_owner_has_a_hundred_tokens_at_most_however_fast_they_ask(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    _, login = await reader(api, sql)

    async def make(_number: int) -> Answer:
        return await api.call("POST", "/v1/auth/tokens", token=login, body=WANTED)

    made = await asyncio.gather(*map(make, range(110)))

    assert sorted(answer.status for answer in made) == [201] * 100 + [409] * 10


async def test_the_last_use_is_written_once_a_minute_and_survives_an_absence(
    settings: UsersSettings, tmp_path: Path, sql: asyncpg.Connection
) -> None:
    async with running(settings, tmp_path) as (api, _):
        _, login = await reader(api, sql)
        made = (await api.call("POST", "/v1/auth/tokens", token=login, body=WANTED)).data
        assert await lists(api, made["token"]) == 200

    used = "SELECT last_used_at FROM users.personal_access_tokens WHERE id = $1"
    first = await sql.fetchval(used, UUID(made["token_id"]))
    assert first is not None, "written before the process ends"

    async with running(settings, tmp_path) as (api, service):
        noting = asyncio.ensure_future(service.loops["note_used"]())
        try:
            assert await lists(api, made["token"]) == 200
            await sql.execute("UPDATE users.personal_access_tokens SET last_used_at = now() - interval '2 minutes'")

            async def noted() -> bool:
                return bool(await sql.fetchval(f"SELECT ({used}) >= $2", UUID(made["token_id"]), first))

            await eventually(noted, within=15)
        finally:
            noting.cancel()


async def test_an_application_is_made_given_a_token_and_disabled(api: UsersApi, sql: asyncpg.Connection) -> None:
    admin = await api.admin()
    made = await api.call("POST", "/v1/applications", token=admin, body={"name": "billing"})
    assert (made.status, made.data["permissions"]) == (201, ["notifications:read", "notifications:send"])
    path = f"/v1/applications/{made.data['application_id']}"

    given = await api.call("POST", f"{path}/tokens", token=admin, body={"name": "live", "expires_in_days": 30})
    assert given.status == 201
    token = given.data["token"]
    said = await said_of(api, token)
    assert (said["kind"], said["caller_id"]) == ("application", made.data["application_id"])
    assert said["permissions"] == ["notifications:read", "notifications:send"]
    shown = await api.call("GET", path, token=admin)
    assert [one["name"] for one in shown.data["tokens"]] == ["live"]
    assert token.split("_", 2)[2][:43] not in str(shown.body)

    assert (await api.call("DELETE", f"{path}/tokens/{given.data['token_id']}", token=admin)).status == 200
    assert (await said_of(api, token))["active"] is False
    assert (await api.call("DELETE", f"{path}/tokens/{given.data['token_id']}", token=admin)).status == 404

    other = (await api.call("POST", f"{path}/tokens", token=admin, body={"name": "live", "expires_in_days": 30})).data
    for _ in range(2):
        disabled = await api.call("DELETE", path, token=admin)
        assert (disabled.status, disabled.data["disabled_at"] is None) == (200, False)
    assert (await said_of(api, other["token"]))["active"] is False
    again = await api.call("POST", f"{path}/tokens", token=admin, body={"name": "live", "expires_in_days": 30})
    assert (again.status, again.body["error"]) == (409, "application_disabled")
    audited = "SELECT action FROM users.audit_events WHERE subject_id = $1 ORDER BY id"
    events = await sql.fetch(audited, UUID(made.data["application_id"]))
    assert [row["action"] for row in events] == [
        "application_made", "token_made", "token_revoked", "token_made", "application_disabled",
    ]  # fmt: skip


async def test_what_founding_made_is_seen_and_services_are_not(api: UsersApi, sql: asyncpg.Connection) -> None:
    admin = await api.admin()
    found = await api.call("GET", "/v1/applications", token=admin)
    assert [one["name"] for one in found.data] == ["application"]
    service = await sql.fetchval("SELECT id FROM users.service_accounts WHERE name = 'gateway'")
    for method, suffix, body in (
        ("GET", "", None),
        ("DELETE", "", None),
        ("POST", "/tokens", {"name": "mine", "expires_in_days": 1}),
    ):
        answer = await api.call(method, f"/v1/applications/{service}{suffix}", token=admin, body=body)
        assert (answer.status, answer.body["error"]) == (404, "application_not_found")
    token_id = await sql.fetchval("SELECT id FROM users.personal_access_tokens WHERE service_account_id = $1", service)
    assert (await api.call("DELETE", f"/v1/applications/{service}/tokens/{token_id}", token=admin)).status == 404
    assert (await said_of(api, api.service_token("gateway")))["active"] is True
    taken = await api.call("POST", "/v1/applications", token=admin, body={"name": "gateway"})
    assert (taken.status, taken.body["error"]) == (409, "application_name_taken")


async def test_nobody_gives_an_application_what_they_do_not_hold(api: UsersApi, sql: asyncpg.Connection) -> None:
    admin = await api.admin()
    user = (await api.register()).data
    await sql.execute(
        "INSERT INTO users.user_permissions SELECT $1, id FROM users.permissions "
        "WHERE name IN ('applications:*', 'notifications:read')", UUID(user["user_id"]),
    )  # fmt: skip
    keeper = (await api.log_in(user["email"])).data["access_token"]
    theirs = (await api.call("POST", "/v1/applications", token=admin, body={"name": "billing"})).data
    path = f"/v1/applications/{theirs['application_id']}/tokens"
    token = {"name": "live", "expires_in_days": 30}

    for where, body in (
        ("/v1/applications", {"name": "mine"}),
        ("/v1/applications", {"name": "mine", "permissions": ["users:read"]}),
        ("/v1/applications", {"name": "mine", "permissions": ["notifications:*"]}),
        (path, token),
        (path, {**token, "abilities": ["notifications:send"]}),
    ):
        answer = await api.call("POST", where, token=keeper, body=body)
        assert (answer.status, answer.body["error"]) == (403, "cannot_grant"), body
    made = (await api.call("POST", path, token=admin, body=token)).data
    for where in (f"/v1/applications/{theirs['application_id']}", f"{path}/{made['token_id']}"):
        answer = await api.call("DELETE", where, token=keeper)
        assert (answer.status, answer.body["error"]) == (403, "cannot_grant"), "nor takes it away"
    assert (await said_of(api, made["token"]))["active"] is True
    beyond = await api.call("POST", path, token=admin, body={**token, "abilities": ["users:read"]})
    assert beyond.status == 422
    for body in ({**token, "expires_in_days": None}, {"name": "live"}, {**token, "abilities": []}):
        assert (await api.call("POST", path, token=admin, body=body)).status == 422

    assert (
        await api.call("POST", path, token=keeper, body={**token, "abilities": ["notifications:read"]})
    ).status == 201
    _, nobody = await api.someone()
    for bearer in (nobody, api.credentials["application_token"]):
        assert (await api.call("GET", "/v1/applications", token=bearer)).status == 403
        assert (await api.call("POST", path, token=bearer, body=token)).status == 403


async def test_a_token_acts_on_its_owner_only_as_far_as_it_was_made_for_that(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    user = (await api.register()).data
    own = f"/v1/users/{user['user_id']}"

    async def made_for(*abilities: str) -> str:
        login = (await api.log_in(user["email"])).data["access_token"]
        body = {"name": "script", "abilities": abilities, "expires_in_days": 1}
        token: str = (await api.call("POST", "/v1/auth/tokens", token=login, body=body)).data["token"]
        return token

    async def allowed(token: str) -> list[int]:
        preferences = f"{own}/preferences"
        return [
            (await api.call("GET", "/v1/users/me", token=token)).status,
            (await api.call("GET", preferences, token=token)).status,
            (await api.call("GET", preferences, token=token)).status,  # from memory by now, if at all
            (await api.call("PATCH", preferences, token=token, body={"push": False})).status,
        ]

    reading, writing = await made_for("self:read"), await made_for("self:write")
    assert await allowed(reading) == [200, 200, 200, 403]
    assert await allowed(writing) == [403, 403, 403, 200]
    await sql.execute(
        "INSERT INTO users.user_permissions SELECT $1, id FROM users.permissions WHERE name = 'templates:read'",
        UUID(user["user_id"]),
    )
    assert await allowed(await made_for("templates:read")) == [403, 403, 403, 403]
