"""Passkeys over HTTP: registered by a software authenticator, signing in without a password; hostile ones stay out."""

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from carillon.users.actions.authenticating import secret_hash
from carillon.users.settings import UsersSettings
from tests.integration.users.client import PASSWORD, Answer, UsersApi
from tests.integration.users.conftest import running
from tests.integration.users.factors import holder
from tests.support.authenticator import PRESENT, Authenticator, base64url, raw
from tests.support.waiting import eventually

ORIGIN, RP_ID = "http://127.0.0.1:8000", "127.0.0.1"
BEGIN, ADD = "/v1/auth/passkeys/registration", "/v1/auth/passkeys"
LOGIN, FINISH = "/v1/auth/passkeys/login", "/v1/auth/passkeys/login/finish"


def authenticator() -> Authenticator:
    return Authenticator(ORIGIN, RP_ID)


async def begun(api: UsersApi, token: str, **more: str) -> Answer:
    return await api.call("POST", BEGIN, token=token, body={"current_password": PASSWORD, **more})


async def added(api: UsersApi, token: str, own: Authenticator, name: str = "My phone") -> Answer:
    options = (await begun(api, token)).data["options"]
    return await api.call("POST", ADD, token=token, body={"name": name, "credential": own.make(options)})


async def options_of(api: UsersApi) -> dict[str, Any]:
    found: dict[str, Any] = (await api.call("POST", LOGIN)).data["options"]
    return found


async def finish(api: UsersApi, credential: dict[str, Any]) -> Answer:
    return await api.call("POST", FINISH, body={"credential": credential})


async def actions(sql: asyncpg.Connection, user: dict[str, Any]) -> list[str]:
    rows = await sql.fetch("SELECT action FROM users.audit_events WHERE subject_id = $1 ORDER BY id", user["user_id"])
    return [row["action"] for row in rows]


async def test_a_passkey_opens_the_account_without_a_password(api: UsersApi, sql: asyncpg.Connection) -> None:
    (user, token), own = await api.someone(), authenticator()

    made = await added(api, token, own)
    signed = await finish(api, own.get(await options_of(api)))

    assert (made.status, made.data["name"], made.data["last_used_at"]) == (201, "My phone", None)
    me = await api.call("GET", "/v1/users/me", token=signed.data["access_token"])
    assert me.data["user_id"] == user["user_id"]
    listed = (await api.call("GET", ADD, token=token)).data
    assert [(one["passkey_id"], one["last_used_at"] is not None) for one in listed] == [(made.data["passkey_id"], True)]
    renewed = await api.call("POST", "/v1/auth/refresh", body={"refresh_token": signed.data["refresh_token"]})
    assert renewed.status == 200, "it is a login like any other"
    assert (await actions(sql, user))[-2:] == ["passkey_added", "signed_in"]


async def test_where_logins_need_a_code_so_does_a_new_passkey_which_then_needs_none(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    ada, own = await holder(api, sql), authenticator()
    bare, wrong = await begun(api, ada.access), await begun(api, ada.access, code=ada.wrong)
    assert (bare.status, bare.body["error"]) == (403, "second_factor_required")
    assert (wrong.status, wrong.body["error"]) == (403, "wrong_code")

    begin = await begun(api, ada.access, code=await ada.fresh())
    body = {"name": "Key", "credential": own.make(begin.data["options"])}
    assert (await api.call("POST", ADD, token=ada.access, body=body)).status == 201

    assert (await finish(api, own.get(await options_of(api)))).status == 200


async def test_a_removed_passkey_opens_nothing_and_nobody_removes_anothers(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    (user, token), (_, stranger), own = await api.someone(), await api.someone(), authenticator()
    path = f"{ADD}/{(await added(api, token, own)).data['passkey_id']}"

    theirs = await api.call("DELETE", path, token=stranger)
    assert (theirs.status, theirs.body["error"]) == (404, "passkey_not_found")
    assert (await api.call("GET", ADD, token=stranger)).data == []
    assert (await finish(api, own.get(await options_of(api)))).status == 200
    assert (await api.call("DELETE", path, token=token)).status == 200

    assert (await finish(api, own.get(await options_of(api)))).status == 401
    assert (await api.call("DELETE", path, token=token)).status == 404
    assert "passkey_removed" in await actions(sql, user)


def _flipped(credential: dict[str, Any]) -> None:
    content = bytearray(raw(credential["response"]["signature"]))
    content[-1] ^= 1
    credential["response"]["signature"] = base64url(bytes(content))


HOSTILE: dict[str, tuple[Callable[[Authenticator], Any], Callable[[dict[str, Any]], Any]]] = {
    "origin": (lambda own: setattr(own, "origin", "https://evil.example"), lambda _: None),
    "rp id": (lambda own: setattr(own, "rp_id", "evil.example"), lambda _: None),
    "unverified user": (lambda own: setattr(own, "flags", PRESENT), lambda _: None),
    "absent user": (lambda own: setattr(own, "flags", 0x04), lambda _: None),
    "another key": (lambda own: setattr(own, "key", ec.generate_private_key(ec.SECP256R1())), lambda _: None),
    "unknown passkey": (lambda own: setattr(own, "credential_id", secrets.token_bytes(32)), lambda _: None),
    "user handle": (lambda own: setattr(own, "user_handle", uuid4().bytes), lambda _: None),
    "flipped signature": (lambda _: None, _flipped),
    "id and rawId": (lambda _: None, lambda credential: credential.update(id="AQID")),
}


@pytest.mark.parametrize("what", HOSTILE)
async def test_whatever_is_wrong_the_answer_is_one_and_the_same(api: UsersApi, what: str) -> None:
    (_, token), own = await api.someone(), authenticator()
    await added(api, token, own)
    bend, bend_answer = HOSTILE[what]
    bend(own)
    credential = own.get(await options_of(api))
    bend_answer(credential)

    refused = await finish(api, credential)

    assert (refused.status, refused.body["error"]) == (401, "passkey_refused")
    assert refused.body["message"] == (await finish(api, credential)).body["message"]


async def test_a_challenge_is_good_for_one_login_however_many_bring_it_at_once(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    (user, token), own = await api.someone(), authenticator()
    await added(api, token, own)
    credential = own.get(await options_of(api))

    answers = await asyncio.gather(*(finish(api, credential) for _ in range(5)))

    assert sorted(answer.status for answer in answers) == [200, 401, 401, 401, 401]
    late, registering = await options_of(api), (await begun(api, token)).data["options"]
    await sql.execute("UPDATE users.passkey_challenges SET expires_at = now() WHERE user_id IS NULL")
    for options in (late, registering, {"challenge": base64url(bytes(32))}, {"challenge": ""}):
        assert (await finish(api, own.get(options))).status == 401, "expired, of a registration, invented, none"
    assert "passkey_cloned" not in await actions(sql, user)


async def test_a_copied_authenticator_is_refused_and_audited(api: UsersApi, sql: asyncpg.Connection) -> None:
    (user, token), own = await api.someone(), authenticator()
    await added(api, token, own)
    assert (await finish(api, own.get(await options_of(api), rising=5))).status == 200

    for rising in (0, -3):
        refused = await finish(api, own.get(await options_of(api), rising=rising))
        assert (refused.status, refused.body["error"]) == (401, "passkey_refused")

    assert (await actions(sql, user)).count("passkey_cloned") == 2
    assert await sql.fetchval("SELECT sign_count FROM users.passkeys") == 5
    own.key = ec.generate_private_key(ec.SECP256R1())
    await finish(api, own.get(await options_of(api), rising=-1))
    assert (await actions(sql, user)).count("passkey_cloned") == 2, "who cannot sign accuses nobody"


async def test_one_that_does_not_count_is_taken_as_it_is(api: UsersApi) -> None:
    (_, token), own = await api.someone(), authenticator()
    await added(api, token, own)

    statuses = [(await finish(api, own.get(await options_of(api), rising=0))).status for _ in range(2)]

    assert statuses == [200, 200]


async def test_a_registration_is_good_once_for_who_began_it(api: UsersApi) -> None:
    (_, token), (_, stranger), own = await api.someone(), await api.someone(), authenticator()
    options = (await begun(api, token)).data["options"]

    async def brought(by: str, made: Authenticator, given: dict[str, Any]) -> Answer:
        return await api.call("POST", ADD, token=by, body={"name": "Mine", "credential": made.make(given)})

    assert (await brought(stranger, own, options)).status == 403
    assert (await brought(token, own, options)).status == 201
    assert (await brought(token, authenticator(), options)).body["error"] == "passkey_unverified"
    assert (await brought(token, authenticator(), await options_of(api) | {"user": {"id": "AQID"}})).status == 403
    again = (await begun(api, token)).data["options"]
    assert [raw(one["id"]) for one in again["excludeCredentials"]] == [own.credential_id]
    assert (await brought(token, own, again)).body["error"] == "passkey_taken"
    anothers = (await begun(api, stranger)).data["options"]
    assert (await brought(stranger, own, anothers)).body["error"] == "passkey_taken"
    for thief in (Authenticator("https://evil.example", RP_ID), Authenticator(ORIGIN, "evil.example"),
                  Authenticator(ORIGIN, RP_ID, flags=PRESENT)):  # fmt: skip
        assert (await brought(token, thief, (await begun(api, token)).data["options"])).status == 403


async def test_twenty_passkeys_are_kept_and_registering_takes_the_password(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    user, token = await api.someone()
    wrong = await api.call("POST", BEGIN, token=token, body={"current_password": "wrong horse"})
    assert (wrong.status, wrong.body["error"]) == (403, "wrong_password")
    await sql.execute(
        "INSERT INTO users.passkeys (id, user_id, name, credential_id, public_key, sign_count)"
        " SELECT gen_random_uuid(), $1, 'x', decode(lpad(n::text, 4, '0'), 'hex'), '', 0 FROM generate_series(1, 19) n",
        UUID(user["user_id"]),
    )  # fmt: skip
    begins = [(await begun(api, token)).data["options"] for _ in range(3)]

    answers = await asyncio.gather(
        *(
            api.call("POST", ADD, token=token, body={"name": "x", "credential": authenticator().make(options)})
            for options in begins
        )
    )

    assert sorted(answer.status for answer in answers) == [201, 409, 409]
    assert {answer.body.get("error") for answer in answers} == {None, "too_many_passkeys"}


async def test_the_host_of_a_request_changes_nothing(api: UsersApi) -> None:
    headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Origin": "https://evil.example"}

    answer = await api.call("POST", LOGIN, headers=headers)

    assert (answer.data["options"]["rpId"], answer.data["expires_in"]) == (RP_ID, 300)
    assert "evil" not in str(answer.body)


@pytest.mark.parametrize("change", ["suspended", "reset", "erased"])
async def test_a_passkey_ends_with_what_ends_everything(api: UsersApi, sql: asyncpg.Connection, change: str) -> None:
    (user, token), own = await api.someone(), authenticator()
    await added(api, token, own)
    credential, admin, path = own.get(await options_of(api)), await api.admin(), f"/v1/users/{user['user_id']}"

    if change == "suspended":
        assert (await api.call("POST", f"{path}/suspend", token=admin, body={"reason": "Taken over"})).status == 200
    elif change == "erased":
        assert (await api.call("DELETE", path, token=admin)).status == 200
    else:
        await sql.execute("UPDATE users.users SET email_verified_at = now()")
        await sql.execute(
            "INSERT INTO users.one_time_tokens (id, user_id, purpose, secret_hash, email, expires_at)"
            " VALUES ($1, $2, 'password_reset', $3, $4, now() + interval '1 hour')",
            uuid4(), UUID(user["user_id"]), secret_hash("mailed"), user["email"],
        )  # fmt: skip
        body = {"token": "mailed", "new_password": "staple gun and honey"}
        assert (await api.call("POST", "/v1/auth/password/reset", body=body)).status == 200

    assert (await finish(api, credential)).status == 401


async def test_nothing_but_a_login_manages_passkeys_and_bodies_are_looked_at(api: UsersApi) -> None:
    service, (_, token) = api.service_token("gateway"), await api.someone()
    good = authenticator().make((await begun(api, token)).data["options"])
    for bearer, status in (("", 401), (service, 403)):
        for method, path, body in (
            ("GET", ADD, None),
            ("POST", BEGIN, {"current_password": PASSWORD}),
            ("POST", ADD, {"name": "x", "credential": good}),
            ("DELETE", f"{ADD}/{uuid4()}", None),
        ):
            assert (await api.call(method, path, token=bearer, body=body)).status == status, (method, path)
    for name, credential in (
        ("a\r\nb", good),
        ("", good),
        ("x" * 101, good),
        ("\u202ename", good),
        ("x", {**good, "rawId": "not base64!"}),
        ("x", {**good, "type": "password"}),
        ("x", {**good, "response": {}}),
        ("x", {**good, "response": {**good["response"], "attestationObject": "A" * 65_537}}),
    ):
        answer = await api.call("POST", ADD, token=token, body={"name": name, "credential": credential})
        assert answer.status == 422, answer.body


async def test_logins_by_passkey_count_by_client_address_and_leave_nothing(
    settings: UsersSettings, tmp_path: Path, sql: asyncpg.Connection
) -> None:
    limited = msgspec.structs.replace(settings, logins_per_minute=3)
    async with running(limited, tmp_path) as (api, service):
        statuses = [(await api.call("POST", LOGIN)).status for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        stranger = authenticator()
        stranger.user_handle = uuid4().bytes
        assert (await finish(api, stranger.get({"challenge": base64url(bytes(32))}))).status == 429
        assert await sql.fetchval("SELECT count(*) FROM users.passkey_challenges") == 3
        await sql.execute("UPDATE users.passkey_challenges SET expires_at = now()")
        tidying = asyncio.ensure_future(service.loops["tidy"]())
        try:

            async def dropped() -> bool:
                return bool(await sql.fetchval("SELECT count(*) FROM users.passkey_challenges") == 0)

            await eventually(dropped)
        finally:
            tidying.cancel()
