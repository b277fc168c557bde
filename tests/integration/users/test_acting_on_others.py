"""Who may change whom: nobody reaches an account that may do more than they, by whichever way."""

from typing import Any
from uuid import UUID, uuid4

import asyncpg

from tests.integration.users.client import PASSWORD, UsersApi


async def holder(api: UsersApi, sql: asyncpg.Connection, *names: str) -> tuple[dict[str, Any], str]:
    """Somebody with these permissions, and their login."""
    user = (await api.register(name="Eve")).data
    given = "INSERT INTO users.user_permissions SELECT $1, id FROM users.permissions WHERE name = ANY($2::text[])"
    await sql.execute(given, UUID(user["user_id"]), names)
    return user, (await api.log_in(user["email"])).data["access_token"]


def ways(user_id: str) -> list[tuple[str, str, Any]]:
    """Every way in which a person is changed by somebody else."""
    path = f"/v1/users/{user_id}"
    return [
        ("PATCH", path, {"email": f"{uuid4().hex}@evil.example"}),
        ("PATCH", path, {"name": "Mallory"}),
        ("PATCH", path, {"name": "Mallory", "email": f"{uuid4().hex}@evil.example"}),
        ("PUT", f"{path}/push_token", {"push_token": "eves-phone"}),
        ("PUT", f"{path}/push_token", {"push_token": None}),
        ("POST", f"{path}/devices", {"platform": "fcm", "token": "eves-other-phone"}),
        ("PUT", f"{path}/preferences", {"email": False, "push": False}),
        ("PATCH", f"{path}/preferences", {"email": False}),
        ("POST", f"{path}/suspend", {"reason": "A coup"}),
        ("POST", f"{path}/restore", None),
        ("DELETE", path, None),
    ]


async def state(sql: asyncpg.Connection, user_id: str) -> Any:
    """All that the ways above change, and what they leave in the audit trail and the outbox."""
    return await sql.fetchrow(
        """
        SELECT u.version, u.email, u.pending_email, u.name, u.status, p.email AS takes_email,
               (SELECT count(*) FROM users.devices WHERE user_id = u.id) AS devices,
               (SELECT count(*) FROM users.audit_events WHERE subject_id = u.id AND actor_id <> u.id) AS acts,
               (SELECT count(*) FROM users.outbox WHERE topic = 'account_mail') AS mails
        FROM users.users u JOIN users.notification_preferences p ON p.user_id = u.id WHERE u.id = $1
        """,
        UUID(user_id),
    )


async def test_nobody_changes_somebody_who_may_do_more(api: UsersApi, sql: asyncpg.Connection) -> None:
    _, eve = await holder(api, sql, "users:*")
    admin_id = api.credentials["admin_user_id"]
    device = {"platform": "fcm", "token": "the-admins-phone"}
    theirs = (await api.call("POST", f"/v1/users/{admin_id}/devices", token=await api.admin(), body=device)).data
    before = await state(sql, admin_id)

    away = ("DELETE", f"/v1/users/{admin_id}/devices/{theirs['device_id']}", None)
    for method, path, body in [*ways(admin_id), away]:
        answer = await api.call(method, path, token=eve, body=body)
        assert (answer.status, answer.body["error"]) == (403, "cannot_act_on"), (method, path, answer.body)
        assert "roles:*" in {detail["field"] for detail in answer.body["details"]}, "it is said what is missing"

    assert await state(sql, admin_id) == before, "nothing was changed, mailed or written down as done"


async def test_whoever_may_do_as_much_may_change_them(api: UsersApi, sql: asyncpg.Connection) -> None:
    _, eve = await holder(api, sql, "users:*", "audit:read")
    bob, _ = await holder(api, sql, "audit:read", "users:suspend")

    for method, path, body in ways(bob["user_id"]):
        assert (await api.call(method, path, token=eve, body=body)).status in {200, 201}, (method, path)


async def test_a_token_counts_for_what_it_carries_and_not_for_its_owner(api: UsersApi, sql: asyncpg.Connection) -> None:
    admin, admin_id = await api.admin(), api.credentials["admin_user_id"]
    wanted = {"name": "clean-up", "abilities": ["users:*"], "expires_in_days": 1}
    token = (await api.call("POST", "/v1/auth/tokens", token=admin, body=wanted)).data["token"]
    ada, _ = await holder(api, sql, "audit:read")
    bob = (await api.register()).data

    other = await api.call("PATCH", f"/v1/users/{ada['user_id']}", token=token, body={"name": "Mallory"})
    itself = [
        await api.call("PATCH", f"/v1/users/{admin_id}", token=token, body={"email": "mallory@evil.example"}),
        await api.call("POST", f"/v1/users/{admin_id}/suspend", token=token, body={"reason": "A coup"}),
        await api.call("DELETE", f"/v1/users/{admin_id}", token=token),
    ]

    assert (other.status, other.body["error"]) == (403, "cannot_act_on")
    assert [(a.status, a.body["error"]) for a in itself] == [(403, "forbidden"), *[(403, "cannot_act_on")] * 2]
    assert (await api.call("PATCH", f"/v1/users/{bob['user_id']}", token=token, body={"name": "Bob"})).status == 200


async def test_a_token_made_for_something_else_does_not_take_its_owners_address(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    ada, login = await holder(api, sql, "audit:read")
    wanted = {"name": "reporting", "abilities": ["audit:read"], "expires_in_days": 1}
    token = (await api.call("POST", "/v1/auth/tokens", token=login, body=wanted)).data["token"]
    path, body = f"/v1/users/{ada['user_id']}", {"email": f"{uuid4().hex}@evil.example", "name": "Mallory"}

    refused = await api.call("PATCH", path, token=token, body=body)
    await sql.execute("DELETE FROM users.user_permissions WHERE user_id = $1", UUID(ada["user_id"]))
    demoted = await api.call("PATCH", path, token=token, body=body)

    assert [(a.status, a.body["error"]) for a in (refused, demoted)] == [(403, "forbidden")] * 2
    now = (await api.call("GET", path, token=login)).data
    assert (now["pending_email"], now["name"]) == (None, "Eve")
    body["current_password"] = PASSWORD
    assert (await api.call("PATCH", path, token=login, body=body)).data["pending_email"] == body["email"]
