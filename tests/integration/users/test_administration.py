"""Suspending, restoring, erasing, exporting: over HTTP, on the tables that are really there."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from carillon.users.store.administration import OWNED
from carillon.users.store.exports import PARTS
from tests.integration.users.client import PASSWORD, UsersApi
from tests.integration.users.mails import mailed

_REFERRING = """
SELECT conrelid::regclass::text FROM pg_constraint
WHERE contype = 'f' AND confrelid = 'users.users'::regclass
"""


async def given(api: UsersApi, user_id: str, *roles: str) -> None:
    body = {"roles": list(roles)}
    answer = await api.call("PUT", f"/v1/users/{user_id}/roles", token=await api.admin(), body=body)
    assert answer.status == 200, answer.body


async def operator(api: UsersApi) -> tuple[str, str]:
    user = (await api.register(name="Oscar")).data
    await given(api, user["user_id"], "operator")
    return user["user_id"], (await api.log_in(user["email"])).data["access_token"]


async def test_whoever_is_suspended_is_out_at_once_and_may_come_back(api: UsersApi, sql: asyncpg.Connection) -> None:
    _, token = await operator(api)
    ada, own = await api.someone(name="Ada")
    path = f"/v1/users/{ada['user_id']}"

    suspended = await api.call("POST", f"{path}/suspend", token=token, body={"reason": "Taken over"})

    assert (suspended.data["status"], suspended.headers["ETag"]) == ("suspended", f'"{ada["version"] + 1}"')
    assert (await api.call("GET", "/v1/users/me", token=own)).status == 401
    assert (await api.log_in(ada["email"])).status == 401
    assert [user["name"] for user in (await api.call("GET", "/v1/users?status=suspended", token=token)).data] == ["Ada"]
    assert await sql.fetchval("SELECT count(*) FROM users.sessions WHERE revoked_reason = 'user_suspended'") == 1
    contact = await api.call("GET", f"{path}/contact?channel=email", token=api.service_token("email_worker"))
    assert contact.data["decision"]["allowed"] is False
    restored = await api.call("POST", f"{path}/restore", token=token)
    assert restored.data["status"] == "active"
    assert (await api.call("GET", "/v1/users/me", token=own)).status == 401, "the session has ended"
    assert (await api.log_in(ada["email"])).status == 200
    events = await sql.fetch("SELECT action, detail FROM users.audit_events WHERE subject_id = $1", ada["user_id"])
    assert {"user_suspended", "user_restored"} <= {row["action"] for row in events}
    assert '{"reason": "Taken over"}' in {row["detail"] for row in events}


async def test_nobody_suspends_who_holds_more_and_the_last_administrator_stays(api: UsersApi) -> None:
    _, token = await operator(api)
    admin, admin_id = await api.admin(), api.credentials["admin_user_id"]
    ada = (await api.register()).data
    body = {"reason": "A coup"}

    coup = await api.call("POST", f"/v1/users/{admin_id}/suspend", token=token, body=body)
    own = await api.call("POST", f"/v1/users/{admin_id}/suspend", token=admin, body=body)
    gone = await api.call("DELETE", f"/v1/users/{admin_id}", token=admin)

    assert (coup.status, coup.body["error"]) == (403, "cannot_act_on")
    assert [(a.status, a.body["error"]) for a in (own, gone)] == [(409, "last_administrator")] * 2
    await given(api, ada["user_id"], "admin")
    second = (await api.log_in(ada["email"])).data["access_token"]
    answers = await asyncio.gather(
        api.call("POST", f"/v1/users/{admin_id}/suspend", token=second, body=body),
        api.call("DELETE", f"/v1/users/{ada['user_id']}", token=admin),
    )
    assert sorted(answer.status for answer in answers) in ([200, 401], [200, 404], [200, 409])


async def test_who_is_erased_leaves_nothing_but_a_hash(api: UsersApi, sql: asyncpg.Connection) -> None:
    admin, worker = await api.admin(), api.service_token("email_worker")
    ada, token = await api.someone(
        name="Ada Lovelace", email="Ada@Example.com", push_token="adas-device", locale="pt-BR"
    )
    path = f"/v1/users/{ada['user_id']}"
    await given(api, ada["user_id"], "application", "user")
    await api.call("PATCH", f"{path}/preferences", token=admin, body={"push": False})
    await api.call("POST", f"{path}/suspend", token=admin, body={"reason": "Ada asked for it"})
    await api.call("POST", f"{path}/restore", token=admin)
    token = (await api.log_in(ada["email"])).data["access_token"]
    await sql.execute("DELETE FROM users.outbox")

    erased = await api.call("DELETE", path, token=token)

    assert (erased.status, erased.body["message"]) == (200, "erased")
    assert (await api.call("GET", "/v1/users/me", token=token)).status == 401
    for answer in (
        await api.call("GET", path, token=admin),
        await api.call("GET", f"{path}/preferences", token=admin),
        await api.call("GET", f"{path}/roles", token=admin),
        await api.call("GET", f"{path}/export", token=admin),
        await api.call("DELETE", path, token=admin),
        await api.call("GET", f"{path}/contact?channel=email", token=worker),
    ):
        assert (answer.status, answer.body["error"]) == (404, "user_not_found")
    left = await _mentions(sql, ada["user_id"], ("lovelace", "@example", "adas-device", "pt-br", "asked for it"))
    assert left == [], "nothing personal is left in any table"
    row = await sql.fetchrow("SELECT * FROM users.users WHERE id = $1", ada["user_id"])
    assert (row["status"], row["name"], row["email_key"], row["password_hash"]) == ("erased", "", None, None)
    told = {row["topic"]: json.loads(row["body"]) for row in await sql.fetch("SELECT topic, body FROM users.outbox")}
    assert told["erasures.gateway.queue"] == {"user_id": ada["user_id"]}
    assert told["users.events"]["user_id"] == ada["user_id"]


async def _mentions(sql: asyncpg.Connection, user_id: str, words: tuple[str, ...]) -> list[str]:
    """Rows of any table of the service that hold one of the words."""
    tables = await sql.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'users'")
    found = []
    for table in (row["tablename"] for row in tables):
        rows = await sql.fetch(
            f"SELECT t::text AS row FROM users.{table} t WHERE t::text LIKE '%' || $1 || '%'", user_id
        )
        if table in OWNED:
            found += [(table, row["row"]) for row in rows]
        found += [(table, row["row"]) for row in rows if any(word in row["row"].lower() for word in words)]
    return [str(one) for one in found]


async def test_every_table_that_refers_to_users_is_exported_and_erased(sql: asyncpg.Connection) -> None:
    """Whoever adds such a table adds it to both lists: PARTS of the exports, OWNED of the erasures."""
    referring = {row[0].removeprefix("users.") for row in await sql.fetch(_REFERRING)}

    assert referring == set(OWNED)
    assert referring == set(PARTS)


async def test_the_address_of_who_was_erased_can_join_anew_and_stays_suppressed_until_lifted(api: UsersApi) -> None:
    admin, worker = await api.admin(), api.service_token("email_worker")
    ada, token = await api.someone(email="ada@example.com")
    await api.call("DELETE", f"/v1/users/{ada['user_id']}", token=token)

    anew = await api.register(email="ADA@example.com")

    assert anew.status == 201
    assert anew.data["user_id"] != ada["user_id"]
    path = f"/v1/users/{anew.data['user_id']}/contact?channel=email"
    assert (await api.call("GET", path, token=worker)).data["decision"]["layer"] == "suppressed_address"
    body = {"email": "Ada@Example.com"}
    asked = await api.call("POST", "/v1/suppressions/check", token=admin, body=body)
    assert (asked.data["suppressed"], asked.data["reason"]) == (True, "erased")
    assert (await api.call("POST", "/v1/suppressions/lift", token=admin, body=body)).body["message"] == "lifted"
    assert (await api.call("GET", path, token=worker)).data["decision"]["allowed"] is True


async def test_a_token_made_for_less_neither_erases_nor_exports_its_owner(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    ada, token = await api.someone()
    bob, _ = await api.someone()
    weak = await _opaque(sql, ada["user_id"])
    path = f"/v1/users/{ada['user_id']}"

    assert (await api.call("GET", path, token=weak)).status == 200, "the token works"
    assert (await api.call("DELETE", path, token=weak)).status == 403
    assert (await api.call("GET", f"{path}/export", token=weak)).status == 403
    for method, other in (("DELETE", f"/v1/users/{bob['user_id']}"), ("GET", f"/v1/users/{bob['user_id']}/export")):
        assert (await api.call(method, other, token=token)).status == 404
        assert (await api.call(method, other)).status == 401
    assert (await api.call("GET", f"{path}/export", token=token)).status == 200


async def _opaque(sql: asyncpg.Connection, user_id: str) -> str:
    from carillon.kit.ids import uuid7  # noqa: PLC0415
    from carillon.users.actions.authenticating import secret_hash  # noqa: PLC0415
    from carillon.users.domain.tokens import OpaqueParts, opaque_text  # noqa: PLC0415

    parts = OpaqueParts(uuid7(), "s" * 43)
    await sql.execute(
        "INSERT INTO users.personal_access_tokens (id, user_id, name, abilities, secret_hash, expires_at)"
        " VALUES ($1, $2, 'weak', '{self:read,self:write}', $3, now() + interval '1 hour')",
        parts.token_id, user_id, secret_hash(parts.secret),
    )  # fmt: skip
    return opaque_text(parts)


async def test_an_export_holds_everything_and_no_secret(api: UsersApi, sql: asyncpg.Connection) -> None:
    ada, token = await api.someone(name="Ada", push_token="adas-device", locale="fr")
    await _opaque(sql, ada["user_id"])

    answer = await api.call("GET", f"/v1/users/{ada['user_id']}/export", token=token)

    held = answer.data
    assert (held["user"]["name"], held["user"]["email"], held["user"]["has_password"]) == ("Ada", ada["email"], True)
    assert held["devices"][0]["token"] == "adas-device"
    assert held["notification_preferences"][0]["email"] is True
    assert held["personal_access_tokens"][0]["name"] == "weak"
    assert [role["name"] for role in held["user_roles"]] == ["user"]
    assert {"user_registered", "signed_in"} <= {event["action"] for event in held["audit_events"]}
    assert len(held["sessions"]) == 1
    text = json.dumps(held)
    assert "argon2" not in text
    assert not any(key.endswith(("_hash", "_salt", "secret")) for part in held.values() for key in _keys(part))
    assert answer.headers["Cache-Control"] == "no-store"


def _keys(part: Any) -> set[str]:
    rows = part if isinstance(part, list) else [part]
    return {key for row in rows for key in row}


@pytest.mark.parametrize(
    ("method", "suffix", "body"),
    [("DELETE", "", None), ("POST", "/suspend", {"reason": "x"}), ("POST", "/restore", None)],
)
async def test_another_version_changes_nothing(api: UsersApi, method: str, suffix: str, body: Any) -> None:
    admin = await api.admin()
    ada = (await api.register()).data
    path = f"/v1/users/{ada['user_id']}"

    refused = await api.call(method, path + suffix, token=admin, body=body, headers={"If-Match": '"7"'})

    assert (refused.status, refused.headers["ETag"]) == (412, '"1"')
    assert (await api.call("GET", path, token=admin)).data == ada
    taken = await api.call(method, path + suffix, token=admin, body=body, headers={"If-Match": '"1"'})
    assert taken.status == 200
    assert (await api.call(method, f"/v1/users/{uuid4()}{suffix}", token=admin, body=body)).status == 404


async def test_a_suppression_is_made_once_told_and_lifted(api: UsersApi, sql: asyncpg.Connection) -> None:
    _, token = await operator(api)
    worker = api.service_token("email_worker")
    ada = (await api.register(email="ada@example.com")).data
    path = f"/v1/users/{ada['user_id']}/contact?channel=email"
    assert (await api.call("GET", path, token=worker)).data["decision"]["allowed"] is True

    first = await api.call(
        "POST", "/v1/suppressions", token=token, body={"email": "Ada@example.com", "reason": "bounced"}
    )
    again = await api.call("POST", "/v1/suppressions", token=token, body={"email": "ada@example.com"})

    assert [(a.status, a.data["reason"]) for a in (first, again)] == [(201, "bounced"), (200, "bounced")]
    assert (await api.call("GET", path, token=worker)).data["decision"]["allowed"] is False
    assert await sql.fetchval("SELECT count(*) FROM users.outbox WHERE body->>'user_id' = $1", ada["user_id"]) == 1
    assert await sql.fetchval("SELECT version FROM users.users WHERE id = $1", ada["user_id"]) == 2
    stored = await sql.fetchval("SELECT t::text FROM users.suppressed_addresses t")
    assert "ada" not in stored, "a hash is kept, no address"
    assert (
        await api.call("POST", "/v1/suppressions/lift", token=token, body={"email": "ada@example.com"})
    ).status == 200
    assert (await api.call("GET", path, token=worker)).data["decision"]["allowed"] is True
    for body in (
        {"email": "no address"},
        {"email": "a@b.example", "reason": "erased"},
        {"email": "x\x00@example.com"},
        {},
    ):
        assert (await api.call("POST", "/v1/suppressions", token=token, body=body)).status == 422, body


async def test_an_account_that_was_taken_over_does_not_go_back_to_the_thief_once_it_is_restored(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    _, token = await operator(api)
    ada, thief = await api.someone()
    path = f"/v1/users/{ada['user_id']}"
    await api.call("PATCH", path, token=thief, body={"email": "thief@evil.example", "current_password": PASSWORD})
    links = [
        ("/v1/auth/email/verify", {"token": await mailed(sql, ada["user_id"], "thief@evil.example")}),
        (
            "/v1/auth/password/reset",
            {"token": await mailed(sql, ada["user_id"], ada["email"], "password_reset"), "new_password": "x" * 20},
        ),
    ]

    await api.call("POST", f"{path}/suspend", token=token, body={"reason": "Taken over"})
    restored = await api.call("POST", f"{path}/restore", token=token)

    assert (restored.data["email"], restored.data["pending_email"]) == (ada["email"], None)
    for where, body in links:
        assert (await api.call("POST", where, body=body)).status == 403, where


async def test_mails_that_wait_go_with_whom_they_are_for(api: UsersApi, sql: asyncpg.Connection) -> None:
    users = [await api.someone(name=name) for name in ("Ada", "Bob")]
    for user, token in users:
        body = {"email": f"{uuid4().hex}@example.com", "current_password": PASSWORD}
        assert (await api.call("PATCH", f"/v1/users/{user['user_id']}", token=token, body=body)).status == 200
    waiting = "SELECT DISTINCT body ->> 'user_id' FROM users.outbox WHERE topic = 'account_mail'"
    assert len(await sql.fetch(waiting)) == 2

    (ada, token), (bob, _) = users
    assert (await api.call("DELETE", f"/v1/users/{ada['user_id']}", token=token)).status == 200

    assert [row[0] for row in await sql.fetch(waiting)] == [bob["user_id"]]
