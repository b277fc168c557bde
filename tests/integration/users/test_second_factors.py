"""A second factor over HTTP: put on, asked for at the login, taken off by whoever can show it."""

import asyncio
import base64
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from carillon.users.actions.authenticating import secret_hash
from carillon.users.providers import secret_files
from carillon.users.providers.vault import new_key
from carillon.users.settings import UsersSettings
from tests.integration.users.client import PASSWORD, Answer, UsersApi
from tests.integration.users.conftest import running
from tests.integration.users.factors import Holder, begun, holder
from tests.support.locks import HOW_MANY_WAIT
from tests.support.waiting import eventually

NEW = "staple gun and honey"


async def actions(sql: asyncpg.Connection, user: dict[str, Any]) -> list[str]:
    rows = await sql.fetch("SELECT action FROM users.audit_events WHERE subject_id = $1 ORDER BY id", user["user_id"])
    return [row["action"] for row in rows]


async def test_once_it_is_on_the_password_alone_opens_nothing(api: UsersApi, sql: asyncpg.Connection) -> None:
    user, access = await api.someone()
    other = (await api.log_in(user["email"])).data
    state = (await api.call("GET", "/v1/auth/totp", token=access)).data
    assert state == {"on": False, "since": None, "recovery_codes_left": 0}
    begin = await begun(api, access)
    ada = Holder(api, sql, user, base64.b32decode(begin.data["secret"]), access)
    assert (begin.status, begin.headers["Cache-Control"]) == (201, "no-store")
    assert (await api.log_in(user["email"])).status == 200, "nothing is asked for before it is confirmed"

    confirmed = await ada.ask("POST", "/v1/auth/totp/confirm", code=ada.now)

    codes = confirmed.data["recovery_codes"]
    assert (len(set(codes)), confirmed.headers["Cache-Control"]) == (10, "no-store")
    body = {"refresh_token": other["refresh_token"]}
    assert (await api.call("POST", "/v1/auth/refresh", body=body)).status == 401, "logins of before have ended"
    assert (await api.call("GET", "/v1/users/me", token=other["access_token"])).status == 401
    login = await api.log_in(user["email"])
    assert (login.status, login.body["error"], login.body["success"]) == (401, "second_factor_required", False)
    assert login.body["data"]["expires_in"] == 300
    assert "access_token" not in str(login.body)
    signed = await ada.finish(login.body["data"]["challenge"], code=await ada.fresh())
    me = await api.call("GET", "/v1/users/me", token=signed.data["access_token"])
    assert me.data["user_id"] == user["user_id"]
    state = (await api.call("GET", "/v1/auth/totp", token=signed.data["access_token"])).data
    assert (state["on"], state["recovery_codes_left"]) == (True, 10)
    assert {"second_factor_begun", "second_factor_on"} <= set(await actions(sql, user))


async def test_the_login_that_put_it_on_stays(api: UsersApi, sql: asyncpg.Connection) -> None:
    user = (await api.register()).data
    login = (await api.log_in(user["email"])).data
    secret = base64.b32decode((await begun(api, login["access_token"])).data["secret"])
    ada = Holder(api, sql, user, secret, login["access_token"])

    await ada.ask("POST", "/v1/auth/totp/confirm", code=ada.now)

    renewed = await api.call("POST", "/v1/auth/refresh", body={"refresh_token": login["refresh_token"]})
    assert (await api.call("GET", "/v1/users/me", token=renewed.data["access_token"])).status == 200


async def test_it_takes_the_present_password_and_is_begun_anew_until_it_is_on(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    user, access = await api.someone()
    wrong = await api.call("POST", "/v1/auth/totp", token=access, body={"current_password": "wrong horse"})
    assert (wrong.status, wrong.body["error"]) == (403, "wrong_password")
    none = await api.call("POST", "/v1/auth/totp/confirm", token=access, body={"code": "000000"})
    assert (none.status, none.body["error"]) == (404, "second_factor_not_found")
    first, second = [base64.b32decode((await begun(api, access)).data["secret"]) for _ in range(2)]
    early, late = Holder(api, sql, user, first, access), Holder(api, sql, user, second, access)

    assert (await early.ask("POST", "/v1/auth/totp/confirm", code=early.now)).status == 403
    assert (await late.ask("POST", "/v1/auth/totp/confirm", code=late.now)).status == 200

    late.access = (await late.log_in()).data["access_token"]
    again = await begun(api, late.access)
    assert (again.status, again.body["error"]) == (409, "second_factor_on")
    assert (await late.ask("POST", "/v1/auth/totp/confirm", code=await late.fresh())).status == 404


async def test_a_code_opens_once_however_many_show_it_at_once(api: UsersApi, sql: asyncpg.Connection) -> None:
    ada = await holder(api, sql)
    challenges = [await ada.challenge() for _ in range(4)]
    code = await ada.fresh()

    answers = await asyncio.gather(*(ada.finish(challenge, code=code) for challenge in challenges))

    assert sorted(answer.status for answer in answers) == [200, 403, 403, 403]
    await sql.execute("UPDATE users.second_factors SET retry_at = now(), failures = 0")
    for answer in (
        await ada.finish(await ada.challenge(), code=code),
        await ada.ask("POST", "/v1/auth/totp/recovery_codes", code=code),
        await ada.ask("DELETE", "/v1/auth/totp", code=code),
    ):
        assert (answer.status, answer.body["error"]) == (403, "wrong_code"), "not on another route either"


async def test_a_try_that_waits_for_another_is_not_taken_for_one_too_early(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    ada = await holder(api, sql)
    challenge, code = await ada.challenge(), await ada.fresh()

    async with sql.transaction():
        await sql.execute("SELECT FROM users.second_factors FOR UPDATE")
        trying = asyncio.create_task(ada.finish(challenge, code=code))
        await eventually(lambda: sql.fetchval(HOW_MANY_WAIT))
        await sql.execute("UPDATE users.second_factors SET retry_at = clock_timestamp()")

    assert (await trying).status == 200


async def test_a_recovery_code_opens_once_and_new_ones_void_it(api: UsersApi, sql: asyncpg.Connection) -> None:
    ada, bob = await holder(api, sql), await holder(api, sql)
    challenges = [await ada.challenge() for _ in range(6)]
    spent, kept = ada.recovery_codes[:2]

    answers = await asyncio.gather(*(ada.finish(one, recovery_code=spent.upper()) for one in challenges))

    assert sorted(answer.status for answer in answers) == [200] + [403] * 5
    assert (await ada.ask("GET", "/v1/auth/totp")).data["recovery_codes_left"] == 9
    assert (await ada.finish(await ada.challenge(), recovery_code=bob.recovery_codes[0])).status == 403
    renewed = await ada.ask("POST", "/v1/auth/totp/recovery_codes", code=await ada.fresh())
    assert len(set(renewed.data["recovery_codes"]) - set(ada.recovery_codes)) == 10
    assert (await ada.finish(await ada.challenge(), recovery_code=kept)).status == 403
    opened = await ada.finish(await ada.challenge(), recovery_code=renewed.data["recovery_codes"][0])
    assert opened.status == 200
    assert {"recovery_code_used", "recovery_codes_renewed"} <= set(await actions(sql, ada.user))


async def test_a_challenge_is_good_for_one_login_of_one_person(api: UsersApi, sql: asyncpg.Connection) -> None:
    ada, bob = await holder(api, sql), await holder(api, sql)
    challenge = await ada.challenge()

    assert (await ada.finish(challenge, code=await bob.fresh())).status == 403, "another person's code"
    assert (await api.call("GET", "/v1/users/me", token=challenge)).status == 401, "it is no token"
    assert (await api.call("POST", "/v1/auth/refresh", body={"refresh_token": challenge})).status == 401
    body = {"token": challenge, "new_password": NEW}
    assert (await api.call("POST", "/v1/auth/password/reset", body=body)).status == 403
    assert (await ada.finish(challenge, code=await ada.fresh())).status == 200
    spent = await ada.finish(challenge, code=await ada.fresh())
    assert (spent.status, spent.body["error"]) == (401, "invalid_challenge")
    late = await ada.challenge()
    await sql.execute("UPDATE users.login_challenges SET expires_at = now()")
    for void in (late, "", "x", "\u00e9", challenge[:-1]):
        assert (await ada.finish(void, code=await ada.fresh())).status == 401


@pytest.mark.parametrize("change", ["logout", "suspended"])
async def test_a_challenge_ends_with_what_ends_every_login(api: UsersApi, sql: asyncpg.Connection, change: str) -> None:
    ada = await holder(api, sql)
    challenge = await ada.challenge()

    if change == "logout":
        assert (await ada.ask("POST", "/v1/auth/logout", scope="all")).status == 200
    else:
        path, body = f"/v1/users/{ada.user['user_id']}/suspend", {"reason": "Taken over"}
        assert (await api.call("POST", path, token=await api.admin(), body=body)).status == 200

    assert (await ada.finish(challenge, code=await ada.fresh())).status == 401


async def test_a_new_password_does_not_take_it_off(api: UsersApi, sql: asyncpg.Connection) -> None:
    ada = await holder(api, sql)
    before = await ada.challenge()
    await sql.execute(
        "INSERT INTO users.one_time_tokens (id, user_id, purpose, secret_hash, email, expires_at)"
        " VALUES ($1, $2, 'password_reset', $3, $4, now() + interval '1 hour')",
        uuid4(), UUID(ada.user["user_id"]), secret_hash("mailed"), ada.user["email"],
    )  # fmt: skip

    body = {"token": "mailed", "new_password": NEW}
    assert (await api.call("POST", "/v1/auth/password/reset", body=body)).status == 200

    assert (await ada.finish(before, code=await ada.fresh())).status == 401, "begun with the old password"
    assert (await ada.finish(await ada.challenge(NEW), code=await ada.fresh())).status == 200


@pytest.mark.parametrize("proof", ["code", "recovery_code"])
async def test_whoever_can_show_it_takes_it_off(api: UsersApi, sql: asyncpg.Connection, proof: str) -> None:
    ada = await holder(api, sql)
    assert (await ada.ask("DELETE", "/v1/auth/totp", code=ada.wrong)).status == 403

    given = await ada.fresh() if proof == "code" else ada.recovery_codes[0]
    off = await ada.ask("DELETE", "/v1/auth/totp", **{proof: given})

    assert off.status == 200
    assert (await api.log_in(ada.user["email"])).status == 200
    assert (await ada.ask("DELETE", "/v1/auth/totp", code="000000")).status == 404
    assert (await ada.ask("DELETE", "/v1/auth/totp", recovery_code=ada.recovery_codes[1])).status == 403
    assert await sql.fetchval("SELECT count(*) FROM users.recovery_codes") == 0
    assert "second_factor_off" in await actions(sql, ada.user)


async def _with_role(api: UsersApi, *permissions: str) -> str:
    body = {"name": f"helpers-{uuid4().hex[:8]}", "description": "Help", "permissions": list(permissions)}
    admin = await api.admin()
    assert (await api.call("POST", "/v1/roles", token=admin, body=body)).status == 201
    user = (await api.register()).data
    await api.call("PUT", f"/v1/users/{user['user_id']}/roles", token=admin, body={"roles": [body["name"]]})
    token: str = (await api.log_in(user["email"])).data["access_token"]
    return token


async def test_an_administrator_takes_it_from_who_has_lost_it_but_not_from_who_holds_more(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    ada, boss = await holder(api, sql), await holder(api, sql)
    admin, helper = await api.admin(), await _with_role(api, "users:write")
    roles = f"/v1/users/{boss.user['user_id']}/roles"
    assert (await api.call("PUT", roles, token=admin, body={"roles": ["admin"]})).status == 200
    boss.access = (await boss.log_in()).data["access_token"]

    async def take(whose: str, token: str) -> Answer:
        return await api.call("DELETE", f"/v1/users/{whose}/second_factors", token=token)

    nobody = (await api.register()).data["user_id"]
    assert (await take(boss.user["user_id"], helper)).body["error"] == "cannot_act_on"
    assert (await take(boss.user["user_id"], boss.access)).status == 403, "one's own takes a code"
    assert (await take(boss.user["user_id"], ada.access)).status == 403
    assert (await take(nobody, helper)).body["error"] == "second_factor_not_found"
    assert (await take(str(uuid4()), helper)).body["error"] == "user_not_found"
    assert (await take(ada.user["user_id"], helper)).status == 200

    assert (await api.log_in(ada.user["email"])).status == 200
    assert (await boss.challenge()) != ""
    assert (await actions(sql, ada.user))[-2:] == ["second_factor_taken_away", "signed_in"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"code": "492039", "recovery_code": "mzxw-6ytb-oi5d-k3tg"},
        {"code": 492039},
        {"code": "49203"},
        {"code": "492039\n"},
        {"code": "49203a"},
        {"code": "\uff14\uff19\uff12\uff10\uff13\uff19"},
        {"code": "\u0664\u0669\u0662\u0660\u0663\u0669"},
        {"recovery_code": "x" * 41},
        {"recovery_code": "\x00"},
        {"recovery_code": "mzxw\u202e"},
        {"code": "492039", "user_id": str(uuid4())},
    ],
)
async def test_what_is_no_code_is_refused_by_its_shape_and_costs_no_try(
    api: UsersApi, sql: asyncpg.Connection, body: dict[str, Any]
) -> None:
    ada = await holder(api, sql)

    answers = [
        await api.call("POST", "/v1/auth/login/second_factor", body={"challenge": await ada.challenge(), **body}),
        await api.call("POST", "/v1/auth/totp/recovery_codes", token=ada.access, body=body),
        await api.call("DELETE", "/v1/auth/totp", token=ada.access, body=body),
    ]

    assert [answer.status for answer in answers] == [422] * 3, answers
    assert await sql.fetchval("SELECT failures FROM users.second_factors") == 0


async def test_nothing_but_a_login_manages_it(api: UsersApi, sql: asyncpg.Connection) -> None:
    ada = await holder(api, sql)
    asked = {"name": "script", "abilities": [], "expires_in_days": 1}
    made = await ada.api.call(
        "POST", "/v1/auth/tokens", token=await api.admin(), body={**asked, "abilities": ["users:read"]}
    )
    for token, status in (("", 401), (made.data["token"], 403), (api.service_token("gateway"), 403)):
        for method, path, body in (
            ("GET", "/v1/auth/totp", None),
            ("POST", "/v1/auth/totp", {"current_password": PASSWORD}),
            ("POST", "/v1/auth/totp/confirm", {"code": "000000"}),
            ("POST", "/v1/auth/totp/recovery_codes", {"code": "000000"}),
            ("DELETE", "/v1/auth/totp", {"code": "000000"}),
        ):
            answer = await api.call(method, path, token=token, body=body)
            assert answer.status == status, (method, path, answer.body)


async def test_secrets_are_kept_encrypted_and_open_for_nobody_else(
    settings: UsersSettings, tmp_path: Path, sql: asyncpg.Connection
) -> None:
    async with running(settings, tmp_path) as (api, _):
        ada, bob = await holder(api, sql), await holder(api, sql)
        challenge = await ada.challenge()
        rows = str([tuple(row) for row in await sql.fetch("SELECT secret, user_id FROM users.second_factors")])
        rows += str([tuple(row) for row in await sql.fetch("SELECT code_hash FROM users.recovery_codes")])
        rows += str([tuple(row) for row in await sql.fetch("SELECT secret_hash FROM users.login_challenges")])
        for secret in (str(ada.secret)[2:-1], ada.secret.hex(), ada.recovery_codes[0], challenge):
            assert secret not in rows
        exported = await api.call("GET", f"/v1/users/{ada.user['user_id']}/export", token=ada.access)
        assert set(exported.data["second_factors"][0]) == {"created_at", "confirmed_at"}
        assert set(exported.data["recovery_codes"][0]) == {"created_at", "used_at"}

        await sql.execute(
            "UPDATE users.second_factors SET secret = (SELECT secret FROM users.second_factors WHERE user_id = $2)"
            " WHERE user_id = $1", UUID(ada.user["user_id"]), UUID(bob.user["user_id"]),
        )  # fmt: skip
        ada.secret = bob.secret
        assert (await ada.finish(challenge, code=await ada.fresh())).status == 503, "a row that was copied to another"

    secret_files.keep(Path(settings.encryption_key_file), new_key())
    async with running(settings, tmp_path) as (api, _):
        bob.api = api
        lost = await bob.finish(await bob.challenge(), code=await bob.fresh())
        assert (lost.status, lost.body["error"]) == (503, "unavailable")
        assert (await bob.finish(await bob.challenge(), recovery_code=bob.recovery_codes[0])).status == 200


async def test_codes_are_limited_across_every_route(
    settings: UsersSettings, tmp_path: Path, sql: asyncpg.Connection
) -> None:
    async with running(settings, tmp_path) as (free, _):
        ada = await holder(free, sql)
    limited = msgspec.structs.replace(settings, failed_logins_per_minute=4)
    async with running(limited, tmp_path) as (api, _):
        ada.api = api
        challenge, wrong = await ada.challenge(), ada.wrong
        for _ in range(3):
            await ada.fresh()
            assert (await ada.ask("POST", "/v1/auth/totp/recovery_codes", code=await ada.fresh())).status == 200

        statuses = [
            (await ada.finish(challenge, code=wrong)).status,
            (await ada.finish(challenge, recovery_code="aaaa-aaaa-aaaa-aaaa")).status,
            (await ada.ask("POST", "/v1/auth/totp/recovery_codes", code=wrong)).status,
            (await ada.ask("DELETE", "/v1/auth/totp", code=wrong)).status,
            (await ada.finish(challenge, code=wrong)).status,
            (await ada.ask("POST", "/v1/auth/totp/recovery_codes", recovery_code="a")).status,
            (await ada.ask("DELETE", "/v1/auth/totp", code=await ada.fresh())).status,
            (await ada.finish(challenge, code=await ada.fresh())).status,
        ]

        assert statuses == [403] * 4 + [429] * 4, "right codes are not counted, wrong ones on every route"


async def test_wrong_codes_count_as_failed_logins(
    settings: UsersSettings, tmp_path: Path, sql: asyncpg.Connection
) -> None:
    async with running(settings, tmp_path) as (free, _):
        ada = await holder(free, sql)
    limited = msgspec.structs.replace(settings, failed_logins_per_minute=3)
    async with running(limited, tmp_path) as (api, _):
        ada.api = api
        challenge = await ada.challenge()
        for _ in range(3):
            assert (await ada.finish(challenge, code=ada.wrong)).status == 403

        assert (await api.log_in(ada.user["email"])).status == 429


async def test_without_limits_too_whoever_guesses_waits_ever_longer(api: UsersApi, sql: asyncpg.Connection) -> None:
    ada = await holder(api, sql)
    challenge, wrong = await ada.challenge(), ada.wrong

    guesses = await asyncio.gather(*(ada.finish(challenge, code=wrong) for _ in range(30)))

    assert sorted(answer.status for answer in guesses) == [403] * 5 + [429] * 25
    shut = await ada.finish(challenge, code=ada.now)
    assert shut.status == 429
    assert 25 <= int(shut.headers["Retry-After"]) <= 30
    assert (await ada.finish(challenge, recovery_code=ada.recovery_codes[0])).status == 200, "no guess opens that one"
    challenge = await ada.challenge()
    await sql.execute("UPDATE users.second_factors SET retry_at = now()")
    assert (await ada.finish(challenge, code=wrong)).status == 403
    shut = await ada.finish(challenge, code=ada.now)
    assert 55 <= int(shut.headers["Retry-After"]) <= 60, "twice as long"
    assert (await actions(sql, ada.user)).count("second_factor_guessed") == 1
    assert (await ada.finish(challenge, code=await ada.fresh())).status == 200
    assert await sql.fetchval("SELECT failures FROM users.second_factors") == 0


async def test_logins_that_are_never_finished_are_dropped(
    settings: UsersSettings, tmp_path: Path, sql: asyncpg.Connection
) -> None:
    async with running(settings, tmp_path) as (api, service):
        ada = await holder(api, sql)
        await ada.challenge()
        await sql.execute("UPDATE users.login_challenges SET expires_at = now()")
        left = await ada.challenge()
        tidying = asyncio.ensure_future(service.loops["tidy"]())
        try:

            async def dropped() -> bool:
                return bool(await sql.fetchval("SELECT count(*) FROM users.login_challenges") == 1)

            await eventually(dropped)
        finally:
            tidying.cancel()
        assert (await ada.finish(left, code=await ada.fresh())).status == 200
