"""A login or a token in the wrong hands: it does not become the account, and the owner gets everything back."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from carillon.users.settings import UsersSettings
from tests.integration.users.client import PASSWORD, Answer, UsersApi
from tests.integration.users.mails import FakeGateway, mailing
from tests.support.waiting import eventually

NEW = "staple gun and honey"
ELSEWHERE = "eve@example.com"


@pytest.fixture
async def post(settings: UsersSettings, tmp_path: Path) -> AsyncIterator[tuple[UsersApi, FakeGateway]]:
    async with mailing(settings, tmp_path) as both:
        yield both


async def move(api: UsersApi, user: dict[str, Any], token: str, **body: Any) -> Answer:
    return await api.call("PATCH", f"/v1/users/{user['user_id']}", token=token, body={"email": ELSEWHERE, **body})


async def personal_token(api: UsersApi, access: str) -> str:
    body = {"name": uuid4().hex, "abilities": ["users:read"], "expires_in_days": 7}
    made: str = (await api.call("POST", "/v1/auth/tokens", token=access, body=body)).data["token"]
    return made


async def reset(api: UsersApi, gateway: FakeGateway, user: dict[str, Any], **body: Any) -> Answer:
    await api.call("POST", "/v1/auth/password/forgot", body={"email": user["email"]})
    body = {"token": await gateway.token(user, "password_reset"), "new_password": NEW, **body}
    return await api.call("POST", "/v1/auth/password/reset", body=body)


async def test_one_s_own_address_is_changed_by_whoever_knows_the_password_alone(
    post: tuple[UsersApi, FakeGateway],
) -> None:
    api, _ = post
    user, access = await api.someone()
    nonsense = await move(api, user, access, timezone="Mars/Olympus", current_password=PASSWORD)
    assert (nonsense.status, nonsense.body["details"][0]["field"]) == (422, "timezone")

    without = await move(api, user, access, name="Eve")
    wrong = await move(api, user, access, name="Eve", current_password="wrong horse battery")

    assert (without.status, without.body["details"][0]["field"]) == (422, "current_password")
    assert (wrong.status, wrong.body["error"]) == (403, "wrong_password")
    me = (await api.call("GET", "/v1/users/me", token=access)).data
    assert (me["name"], me["pending_email"], me["version"]) == (user["name"], None, user["version"])
    assert (await move(api, user, access, current_password=PASSWORD)).data["pending_email"] == ELSEWHERE


async def test_the_administrator_needs_no_password_of_others_but_their_own(post: tuple[UsersApi, FakeGateway]) -> None:
    api, _ = post
    user, admin = (await api.register()).data, await api.admin()

    assert (await move(api, user, admin)).status == 200
    assert (await move(api, {"user_id": api.credentials["admin_user_id"]}, admin)).status == 422


async def test_guesses_at_both_doors_count_together(settings: UsersSettings, tmp_path: Path) -> None:
    async with mailing(settings, tmp_path, failed_logins_per_minute=4) as (api, _):
        user, access = await api.someone()
        body = {"current_password": "a guess at it", "new_password": NEW}

        answers = await asyncio.gather(
            *(move(api, user, access, current_password=f"guess {n} at it") for n in range(6)),
            *(api.call("POST", "/v1/auth/password/change", token=access, body=body) for _ in range(6)),
        )

    assert sorted(answer.status for answer in answers) == [403] * 4 + [429] * 8


async def test_the_present_address_is_told_before_another_can_take_its_place(
    post: tuple[UsersApi, FakeGateway], sql: asyncpg.Connection
) -> None:
    api, gateway = post
    user, access = await api.someone()

    await move(api, user, access, current_password=PASSWORD)
    await gateway.token(user, "email_verification")

    codes = [asked["template_code"] for asked in gateway.asked if asked["user_id"] == user["user_id"]]
    assert codes == ["email_change_asked", "email_verification"]
    (told,) = gateway.about(user, "email_change_asked")
    assert (told["category"], told["variables"]["link"]) == ("account", "https://people.example/c/account/reset")
    assert ELSEWHERE not in str(told)

    await move(api, user, access, email=user["email"], current_password=PASSWORD)

    async def nothing_waits() -> bool:
        return bool(await sql.fetchval("SELECT count(*) = 0 FROM users.outbox WHERE topic = 'account_mail'"))

    await eventually(nothing_waits)
    assert len(gateway.about(user, "email_change_asked")) == 1, "who takes it back changes nothing"


@pytest.mark.parametrize("way", ["reset", "change"])
async def test_a_new_password_takes_the_waiting_address_back(post: tuple[UsersApi, FakeGateway], way: str) -> None:
    api, gateway = post
    user, access = await api.someone()
    await move(api, user, access, current_password=PASSWORD)
    link = await gateway.token(user, "email_verification")

    if way == "reset":
        assert (await reset(api, gateway, user)).status == 200
    else:
        body = {"current_password": PASSWORD, "new_password": NEW}
        assert (await api.call("POST", "/v1/auth/password/change", token=access, body=body)).status == 200

    assert (await api.call("POST", "/v1/auth/email/verify", body={"token": link})).status == 403
    access = (await api.log_in(user["email"], NEW)).data["access_token"]
    me = (await api.call("GET", "/v1/users/me", token=access)).data
    assert (me["email"], me["pending_email"]) == (user["email"], None)


async def test_a_reset_ends_personal_access_tokens_unless_it_says_otherwise(
    post: tuple[UsersApi, FakeGateway], sql: asyncpg.Connection
) -> None:
    api, gateway = post
    works = {}
    for keep in (False, True):
        user, access = await api.someone()
        await sql.execute(
            "INSERT INTO users.user_roles (user_id, role_id) SELECT $1, id FROM users.roles WHERE name = 'operator'",
            UUID(user["user_id"]),
        )
        await sql.execute("UPDATE users.users SET email_verified_at = now()")
        access = (await api.log_in(user["email"])).data["access_token"]
        token = await personal_token(api, access)
        assert (await api.call("GET", "/v1/users/me", token=token)).status == 200

        assert (await reset(api, gateway, user, **({"revoke_tokens": False} if keep else {}))).status == 200

        works[keep] = (await api.call("GET", "/v1/users/me", token=token)).status
        assert (await api.call("GET", "/v1/users/me", token=access)).status == 401
    assert works == {False: 401, True: 200}


async def test_a_change_leaves_personal_access_tokens(post: tuple[UsersApi, FakeGateway]) -> None:
    api, _ = post
    admin = await api.admin()
    token = await personal_token(api, admin)
    body = {"current_password": api.credentials["admin_password"], "new_password": NEW}

    assert (await api.call("POST", "/v1/auth/password/change", token=admin, body=body)).status == 200

    assert (await api.call("GET", "/v1/users/me", token=token)).status == 200
