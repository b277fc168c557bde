"""Signing in and tokens over HTTP: who gets in, who does not, and how much anybody may try."""

import asyncio
import time
from pathlib import Path
from uuid import UUID

import asyncpg
import jwt
import msgspec
import pytest

from carillon.users.settings import UsersSettings
from tests.integration.users.client import PASSWORD, UsersApi
from tests.integration.users.conftest import running
from tests.support.waiting import eventually


async def test_who_signs_in_is_known_by_the_token(api: UsersApi) -> None:
    user = (await api.register(name="Ada")).data

    answer = await api.log_in(user["email"].upper())

    assert answer.status == 200
    assert (answer.data["token_type"], answer.data["expires_in"]) == ("Bearer", 300)
    me = await api.call("GET", "/v1/users/me", token=answer.data["access_token"])
    assert me.data["user_id"] == user["user_id"]


async def test_the_token_can_be_verified_by_anybody_with_the_published_keys(api: UsersApi) -> None:
    user, token = await api.someone()
    async with api.session.get("/.well-known/jwks.json") as answer:
        keys = jwt.PyJWKSet.from_dict(await answer.json())
    async with api.session.get("/api/v1/.well-known/jwks.json") as answer:
        assert (await answer.json())["keys"][0]["kid"] in {key.key_id for key in keys.keys}

    header = jwt.get_unverified_header(token)
    claims = jwt.decode(token, keys[header["kid"]].key, algorithms=["EdDSA"], audience="carillon", issuer="carillon")

    assert (header["alg"], header["typ"]) == ("EdDSA", "at+jwt")
    assert (claims["sub"], claims["scope"]) == (user["user_id"], "")
    assert 295 <= claims["exp"] - time.time() <= 300


async def test_the_administrator_holds_everything_and_a_user_nothing(api: UsersApi) -> None:
    _, token = await api.someone()

    assert (await api.call("GET", "/v1/users", token=await api.admin())).status == 200
    assert (await api.call("GET", "/v1/users", token=token)).status == 403


@pytest.mark.parametrize("path", ["/api/v1/auth/login", "/v1/users/login/"])
async def test_who_does_not_get_in_learns_nothing(api: UsersApi, path: str) -> None:
    user = (await api.register()).data
    wrong = [
        {"email": user["email"], "password": "wrong horse battery"},
        {"email": "nobody@example.com", "password": PASSWORD},
        {"email": "no address", "password": PASSWORD},
        {"email": "", "password": ""},
    ]

    answers = [await api.call("POST", path, body=body) for body in wrong]

    assert {answer.status for answer in answers} == {401}
    assert len({str(answer.body) for answer in answers}) == 1
    assert answers[0].body["error"] == "invalid_credentials"


async def test_ten_failures_a_minute_shut_an_account_and_no_other(settings: UsersSettings, tmp_path: Path) -> None:
    limited = msgspec.structs.replace(settings, failed_logins_per_minute=10)
    async with running(limited, tmp_path) as (api, _):
        ada, bob = (await api.register()).data["email"], (await api.register()).data["email"]
        assert {(await api.log_in(ada)).status for _ in range(15)} == {200}, "who gets in is not counted"

        guesses = await asyncio.gather(*(api.log_in(ada.upper(), f"guess {n} at it") for n in range(40)))

        assert sorted(answer.status for answer in guesses) == [401] * 10 + [429] * 30
        refused = await api.log_in(ada)
        assert (refused.status, refused.headers["RateLimit-Policy"]) == (429, '"failed-logins";q=10;w=60')
        assert 1 <= int(refused.headers["Retry-After"]) <= 7
        assert (await api.log_in(bob)).status == 200
        strangers = [(await api.log_in("stranger@example.com", "x" * 9)).status for _ in range(11)]
        assert strangers == [401] * 10 + [429], "an unknown account answers alike"


async def test_logins_are_limited_by_client_address(settings: UsersSettings, tmp_path: Path) -> None:
    limited = msgspec.structs.replace(settings, logins_per_minute=3)
    async with running(limited, tmp_path) as (api, _):
        statuses = [(await api.log_in(f"{n}@example.com", "x" * 9)).status for n in range(5)]

    assert statuses == [401, 401, 401, 429, 429]


async def test_when_too_many_sign_in_at_once_some_are_sent_away_and_not_counted_as_failures(
    settings: UsersSettings, tmp_path: Path
) -> None:
    crowded = msgspec.structs.replace(settings, hashing_threads=1, hashing_queue=2, failed_logins_per_minute=30)
    async with running(crowded, tmp_path) as (api, _):
        email = (await api.register()).data["email"]

        answers = await asyncio.gather(*(api.log_in(email) for _ in range(20)))

        statuses = {answer.status for answer in answers}
        assert statuses == {200, 503}
        shed = next(answer for answer in answers if answer.status == 503)
        assert shed.headers["Retry-After"]
        guesses = [(await api.log_in(email, "wrong horse")).status for _ in range(31)]
        assert guesses[:29] == [401] * 29


async def test_a_session_that_was_ended_and_a_user_who_was_suspended_are_out(
    settings: UsersSettings, tmp_path: Path, sql: asyncpg.Connection
) -> None:
    attentive = msgspec.structs.replace(settings, remembered_token_seconds=0)
    async with running(attentive, tmp_path) as (api, _):
        user, token = await api.someone()
        sessions = await sql.fetch("SELECT id FROM users.sessions WHERE user_id = $1", UUID(user["user_id"]))
        assert len(sessions) == 1
        assert (await api.call("GET", "/v1/users/me", token=token)).status == 200

        await sql.execute("UPDATE users.sessions SET revoked_at = now()")
        assert (await api.call("GET", "/v1/users/me", token=token)).status == 401

        again = (await api.log_in(user["email"])).data["access_token"]
        await sql.execute("UPDATE users.users SET token_version = token_version + 1")
        assert (await api.call("GET", "/v1/users/me", token=again)).status == 401

        again = (await api.log_in(user["email"])).data["access_token"]
        await sql.execute("UPDATE users.users SET status = 'suspended' WHERE id = $1", UUID(user["user_id"]))
        assert (await api.call("GET", "/v1/users/me", token=again)).status == 401
        assert (await api.log_in(user["email"])).status == 401


async def test_sessions_are_dropped_a_day_after_their_end(
    settings: UsersSettings, tmp_path: Path, sql: asyncpg.Connection
) -> None:
    async with running(settings, tmp_path) as (api, service):
        for hours in (0, 23, 25, 100):
            await api.someone()
            await sql.execute(
                "UPDATE users.sessions SET expires_at = now() - make_interval(hours => $1) WHERE expires_at > now()",
                hours,
            )
        tidying = asyncio.ensure_future(service.loops["tidy"]())
        try:

            async def dropped() -> bool:
                return bool(await sql.fetchval("SELECT count(*) FROM users.sessions") == 2)

            await eventually(dropped)
        finally:
            tidying.cancel()


async def test_introspection_is_for_services_and_knows_both_kinds_of_token(api: UsersApi) -> None:
    user, token = await api.someone()
    gateway = api.service_token("gateway")

    async def said(about: str) -> dict[str, object]:
        answer = await api.call("POST", "/v1/auth/introspect", token=gateway, body={"token": about})
        assert answer.status == 200
        found: dict[str, object] = answer.data
        return found

    application = await said(api.credentials["application_token"])
    assert (application["active"], application["kind"]) == (True, "application")
    assert application["permissions"] == ["notifications:read", "notifications:send"]
    signed = await said(token)
    assert (signed["caller_id"], signed["kind"], signed["permissions"]) == (user["user_id"], "user", [])
    service = await said(api.service_token("push_worker"))
    assert (service["kind"], "devices:invalidate" in str(service["permissions"])) == ("service", True)
    for bad in ("", "nonsense", "crl_", token + "x", "\x00", gateway[:-1], "crl_" + "0" * 32 + "_" + "a" * 51):
        assert (await said(bad))["active"] is False
    for bearer, status in ((token, 403), (api.credentials["application_token"], 403), ("", 401)):
        answer = await api.call("POST", "/v1/auth/introspect", token=bearer, body={"token": token})
        assert answer.status == status


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE users.personal_access_tokens SET revoked_at = now()",
        "UPDATE users.personal_access_tokens SET expires_at = now()",
        "UPDATE users.service_accounts SET disabled_at = now()",
        "DELETE FROM users.service_accounts",
    ],
)
async def test_an_opaque_token_ends_with_its_row_or_its_account(
    api: UsersApi, sql: asyncpg.Connection, change: str
) -> None:
    token = api.credentials["application_token"]
    gateway = api.service_token("gateway")
    body = {"token": token}
    answer = await api.call("POST", "/v1/auth/introspect", token=gateway, body=body)
    assert answer.data["active"] is True

    await sql.execute(change)

    answer = await api.call("POST", "/v1/auth/introspect", token=gateway, body=body)
    assert answer.data["active"] is False, "introspection looks each time; those who ask remember"


async def test_secrets_are_kept_as_hashes(api: UsersApi, sql: asyncpg.Connection) -> None:
    await api.register()
    secret = api.credentials["application_token"].split("_", 2)[2][:43]

    everything = [
        str([tuple(row) for row in await sql.fetch(f"SELECT * FROM users.{table}")])
        for table in ("users", "personal_access_tokens", "audit_events", "sessions", "outbox")
    ]

    assert not any(PASSWORD in text or secret in text or secret.encode().hex() in text for text in everything)
    assert not any(api.credentials["admin_password"] in text for text in everything)


async def test_a_bearer_of_nonsense_is_asked_to_sign_in(api: UsersApi) -> None:
    for token in ("", "x", "crl_x", "a.b.c", "\u00e9", "crl_" + "0" * 32 + "_" + "a" * 51, "x" * 6000, "Bearer x"):
        headers = {"Authorization": f"Bearer {token}"}

        async with api.session.get("/v1/users/me", headers=headers) as answer:
            assert (answer.status, (await answer.json())["error"]) == (401, "unauthenticated"), token
            assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_no_cache_on_the_way_keeps_an_answer_with_a_token(api: UsersApi) -> None:
    known = api.credentials
    login = await api.log_in(known["admin_email"], known["admin_password"])
    token, again = login.data["access_token"], {"refresh_token": login.data["refresh_token"]}
    own = {"name": "mine", "abilities": ["audit:read"], "expires_in_days": 1}
    application = (await api.call("POST", "/v1/applications", token=token, body={"name": "billing"})).data
    its = f"/v1/applications/{application['application_id']}/tokens"
    answers = [
        login,
        await api.call("POST", "/v1/auth/refresh", body=again),
        await api.call("POST", "/v1/auth/tokens", token=token, body=own),
        await api.call("POST", its, token=token, body={"name": "its", "expires_in_days": 1}),
    ]

    assert [(a.body["success"], a.headers.get("Cache-Control")) for a in answers] == [(True, "no-store")] * 4
