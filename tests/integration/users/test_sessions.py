"""Sessions over HTTP: renewed without losing anybody, ended by a replay, their time or their owner."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import jwt
import msgspec
import pytest

from carillon.kit.ids import uuid7
from carillon.users.domain.refreshing import RefreshParts, refresh_parts, refresh_text
from carillon.users.settings import UsersSettings
from tests.integration.users.client import Answer, UsersApi
from tests.integration.users.conftest import running
from tests.support.waiting import eventually

_LISTENING = "SELECT count(*) = 2 FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'LISTEN%'"
EXPIRE_GRACE = "UPDATE users.sessions SET refreshed_at = now() - interval '11 seconds'"


async def logged_in(api: UsersApi, **fields: Any) -> dict[str, Any]:
    """What a login grants, and the address."""
    email = (await api.register(**fields)).data["email"]
    return {**(await api.log_in(email)).data, "email": email}


async def refreshed(api: UsersApi, token: str) -> Answer:
    return await api.call("POST", "/v1/auth/refresh", body={"refresh_token": token})


async def alive(api: UsersApi, token: str) -> bool:
    return (await api.call("GET", "/v1/users/me", token=token)).status == 200


def sid(access_token: str) -> str:
    found: str = jwt.decode(access_token, options={"verify_signature": False})["sid"]
    return found


async def test_a_session_goes_on_with_new_tokens_of_the_same_session(api: UsersApi) -> None:
    first = await logged_in(api)
    assert (first["expires_in"], first["refresh_expires_in"]) == (300, 30 * 86_400)

    second = (await refreshed(api, first["refresh_token"])).data
    third = (await refreshed(api, second["refresh_token"])).data

    assert len({one["refresh_token"] for one in (first, second, third)}) == 3
    assert {sid(one["access_token"]) for one in (first, second, third)} == {sid(first["access_token"])}
    assert (third["token_type"], third["expires_in"]) == ("Bearer", 300)
    assert 0 < third["refresh_expires_in"] <= 30 * 86_400, "counted from the login, not from the renewal"
    for one in (first, second, third):
        assert await alive(api, one["access_token"])


async def test_fifty_refreshes_at_once_are_one_lineage_and_nobody_is_logged_out(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    first = await logged_in(api)

    answers = await asyncio.gather(*(refreshed(api, first["refresh_token"]) for _ in range(50)))

    assert {answer.status for answer in answers} == {200}
    assert len({answer.data["refresh_token"] for answer in answers}) == 1
    session = await sql.fetchrow(
        "SELECT generation, revoked_at FROM users.sessions WHERE id = $1", UUID(sid(first["access_token"]))
    )
    assert (session["generation"], session["revoked_at"]) == (1, None)
    assert (await refreshed(api, answers[0].data["refresh_token"])).status == 200


async def test_a_replay_after_the_grace_ends_the_session_and_is_written_down(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    first = await logged_in(api)
    second = (await refreshed(api, first["refresh_token"])).data
    assert (await api.call("GET", "/v1/users/me", token=second["access_token"])).status == 200
    await sql.execute(EXPIRE_GRACE)

    replay = await refreshed(api, first["refresh_token"])

    assert (replay.status, replay.body["error"]) == (401, "invalid_refresh_token")
    assert (await api.call("GET", "/v1/users/me", token=second["access_token"])).status == 401, (
        "at once in this process"
    )
    assert (await refreshed(api, second["refresh_token"])).status == 401, "the thief's lineage ends with the owner's"
    assert (
        await sql.fetchval("SELECT revoked_reason FROM users.sessions WHERE id = $1", UUID(sid(first["access_token"])))
        == "refresh_token_reused"
    )
    assert await sql.fetchval("SELECT count(*) FROM users.audit_events WHERE action = 'refresh_token_reused'") == 1


async def test_a_token_of_long_ago_ends_the_session_even_within_the_grace(api: UsersApi) -> None:
    first = await logged_in(api)
    newest = first
    for _ in range(5):
        newest = (await refreshed(api, newest["refresh_token"])).data

    assert (await refreshed(api, first["refresh_token"])).status == 401
    assert (await refreshed(api, newest["refresh_token"])).status == 401


async def test_what_was_never_a_token_of_ours_is_refused_and_changes_nothing(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    first = await logged_in(api)
    second = (await refreshed(api, first["refresh_token"])).data
    await sql.execute(EXPIRE_GRACE)
    newest = refresh_parts(second["refresh_token"])
    assert newest is not None
    invented = [RefreshParts(newest.session_id, generation, "A" * 43) for generation in (0, 1, 2, 999_999_999)]
    moved = [
        RefreshParts(newest.session_id, 0, newest.secret),
        RefreshParts(newest.session_id, 2, newest.secret),
        RefreshParts(uuid7(), newest.generation, newest.secret),
    ]
    text = second["refresh_token"]
    mangled = [
        "",
        "crr_",
        text[:-1],
        text[:60],
        text + "0",
        text.upper(),
        text * 40,
        first["access_token"],
        "\x00" * 90,
        "é" * 90,
        "crr_" + "0" * 6000,
    ]

    for token in (*map(refresh_text, (*invented, *moved)), *mangled):
        answer = await refreshed(api, token)
        assert (answer.status, answer.body["error"]) == (401, "invalid_refresh_token"), token[:20]

    assert (await refreshed(api, text * 200)).status == 422, "longer than any token"
    assert (await refreshed(api, text)).status == 200


async def test_no_kind_of_token_passes_for_another(api: UsersApi) -> None:
    login = await logged_in(api)

    assert (await api.call("GET", "/v1/users/me", token=login["refresh_token"])).status == 401
    assert (await refreshed(api, login["access_token"])).status == 401
    assert (await refreshed(api, api.credentials["application_token"])).status == 401
    said = await api.call(
        "POST", "/v1/auth/introspect", token=api.service_token("gateway"), body={"token": login["refresh_token"]}
    )
    assert said.data["active"] is False


async def test_a_session_ends_when_it_was_to_end_and_its_last_access_token_with_it(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    login = await logged_in(api)
    await sql.execute("UPDATE users.sessions SET expires_at = now() + interval '100 seconds'")

    last = (await refreshed(api, login["refresh_token"])).data
    assert 90 <= last["expires_in"] == last["refresh_expires_in"] <= 100
    claims = jwt.decode(last["access_token"], options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == last["expires_in"]

    await sql.execute("UPDATE users.sessions SET expires_at = now()")
    assert (await refreshed(api, last["refresh_token"])).status == 401


async def test_a_renewal_sees_what_the_user_may_do_now(api: UsersApi, sql: asyncpg.Connection) -> None:
    login = await logged_in(api)
    await sql.execute(
        "INSERT INTO users.user_permissions SELECT u.id, p.id FROM users.users u, users.permissions p "
        "WHERE u.email = $1 AND p.name = 'users:read'", login["email"],
    )  # fmt: skip
    await sql.execute("UPDATE users.users SET token_version = token_version + 1 WHERE email = $1", login["email"])

    renewed = (await refreshed(api, login["refresh_token"])).data

    assert (await api.call("GET", "/v1/users", token=renewed["access_token"])).status == 200
    await sql.execute("UPDATE users.users SET status = 'suspended' WHERE email = $1", login["email"])
    assert (await refreshed(api, renewed["refresh_token"])).status == 401


async def test_the_secret_and_its_successors_are_nowhere_in_the_database(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    login = await logged_in(api)
    second = (await refreshed(api, login["refresh_token"])).data

    rows = str([dict(row) for row in await sql.fetch("SELECT * FROM users.sessions")])

    for token in (login["refresh_token"], second["refresh_token"]):
        parts = refresh_parts(token)
        assert parts is not None
        assert parts.secret not in rows


async def test_one_sees_and_ends_ones_own_sessions_and_nobody_elses(api: UsersApi) -> None:
    mine = await logged_in(api)
    other = (await api.log_in(mine["email"])).data
    stranger = await logged_in(api)

    listed = await api.call("GET", "/v1/auth/sessions", token=mine["access_token"])
    assert [session["current"] for session in listed.data] == [False, True], "the newest first"
    assert listed.body["meta"]["total"] == 2
    assert set(listed.data[0]) == {
        "session_id", "created_at", "refreshed_at", "expires_at", "user_agent", "address", "current",
    }  # fmt: skip
    assert listed.data[1]["session_id"] == sid(mine["access_token"])
    assert (listed.data[0]["address"], "aiohttp" in listed.data[0]["user_agent"]) == ("127.0.0.1", True)

    for foreign in (sid(stranger["access_token"]), str(uuid7())):
        answer = await api.call("DELETE", f"/v1/auth/sessions/{foreign}", token=mine["access_token"])
        assert (answer.status, answer.body["error"]) == (404, "session_not_found")
    assert await alive(api, stranger["access_token"])

    path = f"/v1/auth/sessions/{sid(other['access_token'])}"
    assert (await api.call("DELETE", path, token=mine["access_token"])).status == 200
    assert not await alive(api, other["access_token"]), "at once, although it was good a moment ago"
    assert (await refreshed(api, other["refresh_token"])).status == 401
    assert (await api.call("DELETE", path, token=mine["access_token"])).status == 404
    assert await alive(api, mine["access_token"])


@pytest.mark.parametrize(
    ("scope", "left"), [({}, [1, 2]), ({"scope": "this"}, [1, 2]), ({"scope": "others"}, [0]), ({"scope": "all"}, [])]
)
async def test_logging_out_ends_this_session_the_others_or_all(
    api: UsersApi, scope: dict[str, str], left: list[int]
) -> None:
    logins = [await logged_in(api)]
    logins += [(await api.log_in(logins[0]["email"])).data for _ in range(2)]
    for one in logins:
        assert await alive(api, one["access_token"])

    answer = await api.call("POST", "/v1/auth/logout", token=logins[0]["access_token"], body=scope)

    assert (answer.status, answer.data["ended"]) == (200, 3 - len(left))
    assert [number for number, one in enumerate(logins) if await alive(api, one["access_token"])] == left
    assert [
        number for number, one in enumerate(logins) if (await refreshed(api, one["refresh_token"])).status == 200
    ] == left
    assert (await api.log_in(logins[0]["email"])).status == 200


async def test_a_scope_that_there_is_not_is_refused(api: UsersApi) -> None:
    login = await logged_in(api)
    for body in ({"scope": "everybody"}, {"scope": None}, {"user_id": str(uuid7())}):
        answer = await api.call("POST", "/v1/auth/logout", token=login["access_token"], body=body)
        assert answer.status == 422
    assert await alive(api, login["access_token"])


async def test_sessions_are_for_those_who_logged_in(api: UsersApi) -> None:
    for token in (api.credentials["application_token"], api.service_token("gateway")):
        assert (await api.call("GET", "/v1/auth/sessions", token=token)).status == 403
        assert (await api.call("POST", "/v1/auth/logout", token=token, body={})).status == 403
        assert (await api.call("DELETE", f"/v1/auth/sessions/{uuid7()}", token=token)).status == 403


async def test_what_a_client_says_of_itself_is_kept_short_and_printable(api: UsersApi) -> None:
    email = (await api.register()).data["email"]
    api.session.headers["User-Agent"] = "ring \u0080ring " + "x" * 5000
    token = (await api.log_in(email)).data["access_token"]

    shown = (await api.call("GET", "/v1/auth/sessions", token=token)).data[0]["user_agent"]

    assert (len(shown), shown.isprintable(), shown[:9]) == (200, True, "ring Âring"[:9])


async def test_refreshes_are_limited_by_client_address(settings: UsersSettings, tmp_path: Path) -> None:
    limited = msgspec.structs.replace(settings, refreshes_per_minute=3)
    async with running(limited, tmp_path) as (api, _):
        answers = [await refreshed(api, "crr_nonsense") for _ in range(5)]

    assert [answer.status for answer in answers] == [401, 401, 401, 429, 429]


@contextlib.asynccontextmanager
async def two_processes(
    settings: UsersSettings, tmp_path: Path, sql: asyncpg.Connection
) -> AsyncIterator[tuple[UsersApi, UsersApi]]:
    """Two processes on one database, that hear of each other."""
    async with running(settings, tmp_path) as (one, first), running(settings, tmp_path) as (two, second):
        loops = [
            asyncio.ensure_future(service.loops[name]())
            for service in (first, second)
            for name in ("announce", "listen")
        ]
        try:
            await eventually(lambda: sql.fetchval(_LISTENING), says="both listen")
            yield one, two
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.wait(loops, timeout=5)


@pytest.mark.parametrize("how", ["logout", "replay", "all"])
async def test_what_one_process_revokes_is_refused_by_another_within_a_second(
    settings: UsersSettings, tmp_path: Path, sql: asyncpg.Connection, how: str
) -> None:
    async with two_processes(settings, tmp_path, sql) as (one, two):
        login = await logged_in(one)
        token = login["access_token"]
        assert await alive(two, token)
        if how == "replay":
            await refreshed(one, login["refresh_token"])
            await sql.execute(EXPIRE_GRACE)
            await refreshed(one, login["refresh_token"])
        else:
            body = {"scope": "all"} if how == "all" else {}
            assert (await one.call("POST", "/v1/auth/logout", token=token, body=body)).status == 200

        async def refused() -> bool:
            return not await alive(two, token)

        await eventually(refused, within=1)
