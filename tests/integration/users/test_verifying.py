"""Addresses confirmed by mail: the one an account has, and the one that is to take its place."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from carillon.users.settings import UsersSettings
from tests.integration.users.client import PASSWORD, Answer, UsersApi
from tests.integration.users.conftest import running
from tests.integration.users.mails import FakeGateway, mailing
from tests.support.waiting import eventually


@pytest.fixture
async def post(settings: UsersSettings, tmp_path: Path) -> AsyncIterator[tuple[UsersApi, FakeGateway]]:
    async with mailing(settings, tmp_path) as both:
        yield both


async def verify(api: UsersApi, token: str) -> Answer:
    return await api.call("POST", "/v1/auth/email/verify", body={"token": token})


async def me(api: UsersApi, token: str) -> dict[str, Any]:
    found: dict[str, Any] = (await api.call("GET", "/v1/users/me", token=token)).data
    return found


async def move(api: UsersApi, user: dict[str, Any], token: str, email: str) -> Answer:
    body = {"email": email, "current_password": PASSWORD}
    return await api.call("PATCH", f"/v1/users/{user['user_id']}", token=token, body=body)


def somewhere() -> str:
    return f"{uuid4().hex}@example.com"


async def test_an_address_is_confirmed_once_by_whoever_reads_its_mail(post: tuple[UsersApi, FakeGateway]) -> None:
    api, gateway = post
    user, access = await api.someone()
    assert (await me(api, access))["email_verified"] is False

    assert (await api.call("POST", "/v1/auth/email/verification", token=access)).status == 202
    token = await gateway.token(user, "email_verification")
    statuses = [answer.status for answer in await asyncio.gather(*(verify(api, token) for _ in range(10)))]

    assert sorted(statuses) == [200] + [403] * 9
    assert (await me(api, access))["email_verified"] is True
    asked = gateway.about(user, "email_verification")[0]
    assert (asked["category"], asked["priority"]) == ("email_verification", 9)
    assert "/account/verify#token=" in asked["variables"]["link"]


async def test_what_is_confirmed_needs_no_mail(post: tuple[UsersApi, FakeGateway], sql: asyncpg.Connection) -> None:
    api, gateway = post
    user, access = await api.someone()
    await sql.execute("UPDATE users.users SET email_verified_at = now()")

    assert (await api.call("POST", "/v1/auth/email/verification", token=access)).status == 202

    async def nothing_waits() -> bool:
        return bool(await sql.fetchval("SELECT count(*) = 0 FROM users.outbox WHERE topic = 'account_mail'"))

    await eventually(nothing_waits)
    assert gateway.about(user, "email_verification") == []


async def test_registration_asks_for_confirmation_where_the_operator_wants_it(
    settings: UsersSettings, tmp_path: Path
) -> None:
    async with mailing(settings, tmp_path, verify_addresses=True) as (api, gateway):
        user = (await api.register()).data

        assert (await verify(api, await gateway.token(user, "email_verification"))).status == 200


async def test_a_crash_after_registration_costs_no_confirmation(
    settings: UsersSettings, tmp_path: Path, sql: asyncpg.Connection
) -> None:
    async with running(msgspec.structs.replace(settings, verify_addresses=True), tmp_path) as (api, _):
        user = (await api.register()).data

    committed_with = await sql.fetchval(
        "SELECT u.xmin = o.xmin FROM users.users u JOIN users.outbox o ON o.body ->> 'user_id' = u.id::text "
        "WHERE u.id = $1 AND o.topic = 'account_mail'",
        UUID(user["user_id"]),
    )
    assert committed_with is True


async def test_a_new_address_counts_once_it_is_confirmed_and_the_mail_goes_there(
    post: tuple[UsersApi, FakeGateway],
) -> None:
    api, gateway = post
    user, access = await api.someone()
    wanted = somewhere()

    answer = await move(api, user, access, wanted)

    assert (answer.status, answer.data["email"], answer.data["pending_email"]) == (200, user["email"], wanted)
    worker = api.service_token("email_worker")
    reached = {}
    for category in ("email_verification", "account", "news"):
        path = f"/v1/users/{user['user_id']}/contact?channel=email&category={category}"
        contact = (await api.call("GET", path, token=worker)).data
        reached[category] = (contact["email"], contact["decision"]["allowed"])
    assert reached == {
        "email_verification": (wanted, True), "account": (user["email"], True), "news": (user["email"], True),
    }  # fmt: skip
    assert (await api.log_in(wanted)).status == 401
    assert (await verify(api, await gateway.token(user, "email_verification"))).status == 200
    after = await me(api, access)
    assert (after["email"], after["pending_email"], after["email_verified"]) == (wanted, None, True)
    assert (await api.log_in(wanted)).status == 200
    assert (await api.log_in(user["email"])).status == 401


async def test_an_address_that_somebody_has_is_refused_before_and_after_the_mail(
    post: tuple[UsersApi, FakeGateway],
) -> None:
    api, gateway = post
    (user, access), wanted = await api.someone(), somewhere()
    taken = (await api.register()).data["email"]
    assert (await move(api, user, access, taken.upper())).status == 409
    await move(api, user, access, wanted)
    token = await gateway.token(user, "email_verification")
    await api.register(email=wanted.replace("@example", "@EXAMPLE"))

    answer = await verify(api, token)

    assert (answer.status, answer.body["error"]) == (409, "email_taken")
    assert (await me(api, access))["email"] == user["email"]


async def test_two_who_want_one_address_do_not_both_get_it(post: tuple[UsersApi, FakeGateway]) -> None:
    api, gateway = post
    wanted = somewhere()
    people = [await api.someone() for _ in range(2)]
    tokens = []
    for user, access in people:
        assert (await move(api, user, access, wanted)).status == 200
        tokens.append(await gateway.token(user, "email_verification"))

    answers = await asyncio.gather(*(verify(api, token) for token in tokens))

    assert sorted(answer.status for answer in answers) == [200, 409]


async def test_another_wish_voids_the_one_before_and_one_s_own_address_takes_it_back(
    post: tuple[UsersApi, FakeGateway], sql: asyncpg.Connection
) -> None:
    api, gateway = post
    user, access = await api.someone()
    await move(api, user, access, somewhere())
    first = await gateway.token(user, "email_verification")
    last = somewhere()
    await move(api, user, access, last)
    second = await gateway.token(user, "email_verification", number=2)
    assert (await verify(api, first)).status == 403

    back = await move(api, user, access, user["email"].upper())

    assert back.data["pending_email"] is None
    assert (await verify(api, second)).status == 403
    assert (await me(api, access))["email"] == user["email"]


async def test_a_reset_mailed_to_the_old_address_ends_with_the_move(post: tuple[UsersApi, FakeGateway]) -> None:
    api, gateway = post
    user, access = await api.someone()
    await api.call("POST", "/v1/auth/password/forgot", body={"email": user["email"]})
    stale = await gateway.token(user, "password_reset")
    await move(api, user, access, somewhere())
    assert (await verify(api, await gateway.token(user, "email_verification"))).status == 200

    body = {"token": stale, "new_password": "staple gun and honey"}
    assert (await api.call("POST", "/v1/auth/password/reset", body=body)).status == 403


async def test_an_address_that_bounced_is_not_written_to(
    post: tuple[UsersApi, FakeGateway], sql: asyncpg.Connection
) -> None:
    api, gateway = post
    user, access = await api.someone()
    wanted = somewhere()
    await sql.execute(
        "INSERT INTO users.suppressed_addresses (id, address_hash, reason) "
        "VALUES (gen_random_uuid(), sha256(convert_to($1, 'UTF8')), 'bounced')",
        wanted,
    )

    assert (await move(api, user, access, wanted)).status == 200

    async def nothing_waits() -> bool:
        return bool(await sql.fetchval("SELECT count(*) = 0 FROM users.outbox WHERE topic = 'account_mail'"))

    await eventually(nothing_waits)
    assert gateway.about(user, "email_verification") == []


@pytest.mark.parametrize("email", ["", "no address", "a@b", "a\x00@example.com", "a@example.com\r\nBcc: b@example.com"])
async def test_what_is_no_address_is_refused(post: tuple[UsersApi, FakeGateway], email: str) -> None:
    api, _ = post
    user, access = await api.someone()

    assert (await move(api, user, access, email)).status == 422


async def test_another_s_address_is_out_of_reach(post: tuple[UsersApi, FakeGateway]) -> None:
    api, _ = post
    user = (await api.register()).data
    _, stranger = await api.someone()

    assert (await move(api, user, stranger, somewhere())).status == 404
    body = {"email_verified": True}
    assert (await api.call("PATCH", f"/v1/users/{user['user_id']}", token=stranger, body=body)).status == 422


async def test_no_category_leads_to_an_address_that_must_not_be_written_to(api: UsersApi) -> None:
    """Whoever sends names a category, and that of confirmations goes to the address that waits."""
    admin, worker = await api.admin(), api.service_token("email_worker")
    contacts = []
    for suppressed in (False, True):
        user, access = await api.someone()
        gone = somewhere()
        if suppressed:
            assert (await api.call("POST", "/v1/suppressions", token=admin, body={"email": gone})).status == 201
        assert (await move(api, user, access, gone.upper())).status == 200
        path = f"/v1/users/{user['user_id']}/contact?channel=email&category=email_verification"
        contact = (await api.call("GET", path, token=worker)).data
        contacts.append((contact["email"].lower() == gone, contact["email"] == user["email"]))

    assert contacts == [(True, False), (False, True)]
