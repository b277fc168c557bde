"""Roles and permissions over HTTP: at once effective, and nobody gives or takes what they do not hold."""

import asyncio
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from tests.integration.users.client import PASSWORD, UsersApi


async def role_of(api: UsersApi, admin: str, *permissions: str, name: str = "support") -> dict[str, Any]:
    body = {"name": name, "description": "Answers people", "permissions": list(permissions)}
    made = await api.call("POST", "/v1/roles", token=admin, body=body)
    assert made.status == 201, made.body
    role: dict[str, Any] = made.data
    return role


async def given(api: UsersApi, admin: str, user_id: str, *roles: str) -> None:
    answer = await api.call("PUT", f"/v1/users/{user_id}/roles", token=admin, body={"roles": list(roles)})
    assert answer.status == 200, answer.body


async def held(api: UsersApi, *permissions: str, name: str = "support") -> tuple[dict[str, Any], str]:
    """A user with a role of these permissions, and a token issued since."""
    admin = await api.admin()
    user = (await api.register()).data
    await role_of(api, admin, *permissions, name=name)
    await given(api, admin, user["user_id"], name)
    return user, (await api.log_in(user["email"])).data["access_token"]


async def test_a_role_is_made_read_changed_and_deleted(api: UsersApi, sql: asyncpg.Connection) -> None:
    admin = await api.admin()
    made = await role_of(api, admin, "users:read", "users:read")
    path = f"/v1/roles/{made['role_id']}"

    assert (made["permissions"], made["seeded"], made["version"]) == (["users:read"], False, 1)
    read = await api.call("GET", path, token=admin)
    assert (read.data, read.headers["ETag"]) == (made, '"1"')
    listed = await api.call("GET", "/v1/roles", token=admin)
    assert [role["name"] for role in listed.data] == ["admin", "application", "operator", "support", "user"]
    body = {"name": "helpers", "permissions": ["roles:read"]}
    changed = await api.call("PATCH", path, token=admin, body=body)
    assert (changed.data["name"], changed.data["permissions"], changed.data["version"]) == (
        "helpers", ["roles:read"], 2,
    )  # fmt: skip
    assert (await api.call("DELETE", path, token=admin)).status == 200
    assert (await api.call("GET", path, token=admin)).body["error"] == "role_not_found"
    actions = await sql.fetch(
        "SELECT action FROM users.audit_events WHERE subject_id = $1 ORDER BY id", made["role_id"]
    )
    assert [row["action"] for row in actions] == ["role_made", "role_changed", "role_deleted"]


async def test_what_a_role_gives_counts_at_once_and_what_it_takes_too(api: UsersApi) -> None:
    admin = await api.admin()
    ada, before = await api.someone()
    role = await role_of(api, admin, "users:read")
    await given(api, admin, ada["user_id"], "user", "support")

    assert (await api.call("GET", "/v1/users", token=before)).status == 401, "issued before: void"
    token = (await api.log_in(ada["email"])).data["access_token"]
    assert (await api.call("GET", "/v1/users", token=token)).status == 200
    await api.call("PATCH", f"/v1/roles/{role['role_id']}", token=admin, body={"permissions": ["roles:read"]})
    assert (await api.call("GET", "/v1/users", token=token)).status == 401
    token = (await api.log_in(ada["email"])).data["access_token"]
    assert (await api.call("GET", "/v1/users", token=token)).status == 403
    assert (await api.call("GET", "/v1/roles", token=token)).status == 200
    await api.call("DELETE", f"/v1/roles/{role['role_id']}", token=admin)
    token = (await api.log_in(ada["email"])).data["access_token"]
    assert (await api.call("GET", "/v1/roles", token=token)).status == 403


async def test_a_change_of_a_role_is_announced_of_everybody_who_has_it(api: UsersApi, sql: asyncpg.Connection) -> None:
    admin = await api.admin()
    role = await role_of(api, admin, "users:read")
    users = [(await api.register()).data["user_id"] for _ in range(3)]
    for user_id in users[:2]:
        await given(api, admin, user_id, "support")
    await sql.execute("DELETE FROM users.outbox")

    await api.call("PATCH", f"/v1/roles/{role['role_id']}", token=admin, body={"permissions": []})
    await api.call("PATCH", f"/v1/roles/{role['role_id']}", token=admin, body={"description": "Nothing new"})

    told = await sql.fetch("SELECT body FROM users.outbox WHERE topic = 'users.events'")
    bodies = [row["body"] for row in told]
    assert len(bodies) == 2
    assert all(f'"{user_id}"' in "".join(bodies) and '"tokens_changed": true' in bodies[0] for user_id in users[:2])


async def test_direct_permissions_add_to_those_of_roles_and_wildcards_cover(api: UsersApi) -> None:
    admin = await api.admin()
    ada, _ = await api.someone()
    path = f"/v1/users/{ada['user_id']}"

    put = await api.call("PUT", f"{path}/permissions", token=admin, body={"permissions": ["users:*"]})

    assert [one["name"] for one in put.data["permissions"]] == put.data["effective"] == ["users:*"]
    token = (await api.log_in(ada["email"])).data["access_token"]
    assert (await api.call("GET", "/v1/users", token=token)).status == 200
    await given(api, admin, ada["user_id"], "application")
    seen = await api.call("GET", f"{path}/roles", token=admin)
    assert seen.data == (await api.call("GET", f"{path}/permissions", token=admin)).data
    assert [role["name"] for role in seen.data["roles"]] == ["application"]
    assert seen.data["effective"] == ["notifications:read", "notifications:send", "users:*"]
    names = [one["name"] for one in (await api.call("GET", "/v1/permissions", token=admin)).data]
    assert {"users:*", "audit:read"} < set(names)


async def test_nobody_gives_or_takes_what_they_do_not_hold(api: UsersApi) -> None:
    eve, token = await held(api, "roles:write", "roles:read", "users:read")
    bob, _ = await api.someone()
    admin_id = api.credentials["admin_user_id"]
    wanted = {"name": "strong", "description": "May everything", "permissions": ["users:*"]}
    strong = (await api.call("POST", "/v1/roles", token=await api.admin(), body=wanted)).data
    roles = {role["name"]: role for role in (await api.call("GET", "/v1/roles", token=token)).data}
    refusals: list[tuple[str, str, Any]] = [
        ("PUT", f"/v1/users/{eve['user_id']}/roles", {"roles": ["admin", "support"]}),
        ("PUT", f"/v1/users/{eve['user_id']}/permissions", {"permissions": ["users:erase", "users:*"]}),
        ("PUT", f"/v1/users/{bob['user_id']}/roles", {"roles": ["operator"]}),
        ("PUT", f"/v1/users/{admin_id}/roles", {"roles": []}),
        ("POST", "/v1/roles", {"name": "mine", "description": "All", "permissions": ["templates:*"]}),
        ("PATCH", f"/v1/roles/{roles['support']['role_id']}", {"permissions": ["roles:*"]}),
        ("PATCH", f"/v1/roles/{roles['operator']['role_id']}", {"permissions": []}),
        ("PATCH", f"/v1/roles/{strong['role_id']}", {"name": "harmless"}),
    ]
    for method, path, body in refusals:
        answer = await api.call(method, path, token=token, body=body)
        assert (answer.status, answer.body["error"]) == (403, "cannot_grant"), (path, answer.body)
        assert answer.body["details"], path
    named = await api.call("PUT", refusals[1][1], token=token, body=refusals[1][2])
    assert [detail["field"] for detail in named.body["details"]] == ["users:*", "users:erase"]
    assert {role["name"]: role for role in (await api.call("GET", "/v1/roles", token=token)).data} == roles
    fine = await api.call("PUT", f"/v1/users/{bob['user_id']}/roles", token=token, body={"roles": ["support", "user"]})
    assert fine.status == 200


async def test_what_came_with_carillon_keeps_its_name_and_stays(api: UsersApi) -> None:
    admin = await api.admin()
    roles = {role["name"]: role for role in (await api.call("GET", "/v1/roles", token=admin)).data}

    for name in ("admin", "operator", "application", "user"):
        path = f"/v1/roles/{roles[name]['role_id']}"
        renamed = await api.call("PATCH", path, token=admin, body={"name": "other"})
        deleted = await api.call("DELETE", path, token=admin)
        assert [(a.status, a.body["error"]) for a in (renamed, deleted)] == [(409, "seeded_role")] * 2, name
    path = f"/v1/roles/{roles['admin']['role_id']}"
    emptied = await api.call("PATCH", path, token=admin, body={"permissions": []})
    assert (emptied.status, emptied.body["error"]) == (409, "seeded_role")
    assert (await api.call("PATCH", path, token=admin, body={"description": "All of it"})).status == 200


async def test_the_last_administrator_stays_also_when_two_demote_each_other_at_once(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    first = await api.admin()
    first_id = api.credentials["admin_user_id"]
    alone = await api.call("PUT", f"/v1/users/{first_id}/roles", token=first, body={"roles": ["user"]})
    assert (alone.status, alone.body["error"]) == (409, "last_administrator")

    ada = (await api.register()).data
    await given(api, first, ada["user_id"], "admin")
    second = (await api.log_in(ada["email"])).data["access_token"]
    answers = await asyncio.gather(
        api.call("PUT", f"/v1/users/{first_id}/roles", token=second, body={"roles": []}),
        api.call("PUT", f"/v1/users/{ada['user_id']}/roles", token=first, body={"roles": []}),
    )

    assert sorted(answer.status for answer in answers) in ([200, 401], [200, 409])
    assert await sql.fetchval(
        "SELECT count(*) FROM users.user_roles ur JOIN users.roles r ON r.id = ur.role_id WHERE r.name = 'admin'"
    ) == 1  # fmt: skip


async def test_a_writer_who_saw_another_version_changes_nothing(api: UsersApi) -> None:
    admin = await api.admin()
    role = await role_of(api, admin, "users:read")
    ada, _ = await api.someone()
    writes = [
        ("PATCH", f"/v1/roles/{role['role_id']}", {"description": "Late"}),
        ("DELETE", f"/v1/roles/{role['role_id']}", None),
        ("PUT", f"/v1/users/{ada['user_id']}/roles", {"roles": ["support"]}),
        ("PUT", f"/v1/users/{ada['user_id']}/permissions", {"permissions": ["users:read"]}),
    ]
    for method, path, body in writes:
        for tag in ('"99"', 'W/"1"', "1"):
            refused = await api.call(method, path, token=admin, body=body, headers={"If-Match": tag})
            assert (refused.status, refused.body["error"]) == (412, "precondition_failed"), (path, tag)
            assert refused.headers["ETag"] == '"1"', path
    assert (await api.call("GET", writes[0][1], token=admin)).data == role
    for method, path, body in (writes[0], writes[2]):
        assert (await api.call(method, path, token=admin, body=body, headers={"If-Match": '"1"'})).status == 200


async def test_what_makes_no_sense_is_refused_and_named(api: UsersApi) -> None:
    admin = await api.admin()
    ada, token = await api.someone()
    await role_of(api, admin)
    for method, path, body in [
        ("POST", "/v1/roles", {"name": "Super User", "description": "x"}),
        ("POST", "/v1/roles", {"name": "x\x00", "description": "x"}),
        ("POST", "/v1/roles", {"name": "x", "description": "a\r\nb"}),
        ("POST", "/v1/roles", {"name": "x", "description": "x", "permissions": ["nope:read"]}),
        ("POST", "/v1/roles", {"name": "x", "description": "x", "permissions": ["*"]}),
        ("POST", "/v1/roles", {"name": "x", "description": "x", "seeded": True}),
        ("PUT", f"/v1/users/{ada['user_id']}/roles", {"roles": ["nobody-knows"]}),
        ("PUT", f"/v1/users/{ada['user_id']}/roles", {"roles": "admin"}),
        ("PUT", f"/v1/users/{ada['user_id']}/permissions", {"permissions": ["users:*:*"]}),
    ]:
        answer = await api.call(method, path, token=admin, body=body)
        assert (answer.status, answer.body["error"]) == (422, "validation_failed"), (path, body, answer.body)
    unknown = await api.call("PUT", f"/v1/users/{ada['user_id']}/roles", token=admin, body={"roles": ["b-x", "a-x"]})
    assert "a-x, b-x" in unknown.body["message"]
    taken = await api.call("POST", "/v1/roles", token=admin, body={"name": "support", "description": "x"})
    assert (taken.status, taken.body["error"]) == (409, "role_name_taken")
    for path in (f"/v1/users/{uuid4()}/roles", f"/v1/users/{uuid4()}/permissions"):
        field = path.rpartition("/")[2]
        assert (await api.call("GET", path, token=admin)).status == 404
        assert (await api.call("PUT", path, token=admin, body={field: []})).status == 404
    assert (await api.call("GET", "/v1/roles", token=token)).status == 403


@pytest.mark.parametrize("field", ["roles", "permissions", "is_admin"])
async def test_nobody_becomes_more_by_registering(api: UsersApi, field: str) -> None:
    answer = await api.register(password=PASSWORD, **{field: ["admin"]})

    assert (answer.status, answer.body["error"]) == (422, "validation_failed")
