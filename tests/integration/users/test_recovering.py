"""A new password: changed by its owner, or set by whoever holds the token of a mail, once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from carillon.users.settings import UsersSettings
from tests.integration.users.client import PASSWORD, Answer, UsersApi
from tests.integration.users.conftest import running
from tests.integration.users.mails import AWAY, GONE, FakeGateway, mailing
from tests.support.waiting import eventually

NEW = "staple gun and honey"


@pytest.fixture
async def post(settings: UsersSettings, tmp_path: Path) -> AsyncIterator[tuple[UsersApi, FakeGateway]]:
    async with mailing(settings, tmp_path) as both:
        yield both


async def forgot(api: UsersApi, email: str) -> Answer:
    return await api.call("POST", "/v1/auth/password/forgot", body={"email": email})


async def reset(api: UsersApi, token: str, password: str = NEW) -> Answer:
    return await api.call("POST", "/v1/auth/password/reset", body={"token": token, "new_password": password})


async def change(api: UsersApi, token: str, current: str = PASSWORD, new: str = NEW) -> Answer:
    body = {"current_password": current, "new_password": new}
    return await api.call("POST", "/v1/auth/password/change", token=token, body=body)


async def test_who_reads_the_mail_sets_a_new_password_and_every_login_ends(
    post: tuple[UsersApi, FakeGateway], sql: asyncpg.Connection
) -> None:
    api, gateway = post
    user, access = await api.someone()

    assert (await forgot(api, user["email"].upper())).status == 202
    token = await gateway.token(user, "password_reset")
    assert (await reset(api, token)).status == 200

    assert (await api.log_in(user["email"])).status == 401
    assert (await api.log_in(user["email"], NEW)).status == 200
    assert (await api.call("GET", "/v1/users/me", token=access)).status == 401
    assert await sql.fetchval("SELECT email_verified_at IS NOT NULL FROM users.users WHERE email = $1", user["email"])
    await eventually(lambda: gateway.about(user, "password_changed"))
    asked = gateway.about(user, "password_reset")[0]
    assert (asked["priority"], asked["category"], asked["notification_type"]) == (9, "account", "email")
    assert asked["variables"]["link"].startswith("https://people.example/c/account/reset#token=")
    assert gateway.bearers == {f"Bearer {api.service_token('users')}"}


async def test_a_token_works_once_even_for_twenty_who_use_it_at_once(post: tuple[UsersApi, FakeGateway]) -> None:
    api, gateway = post
    user = (await api.register()).data
    await forgot(api, user["email"])
    token = await gateway.token(user, "password_reset")

    answers = await asyncio.gather(*(reset(api, token, f"password of racer {n}") for n in range(20)))

    winners = [n for n, answer in enumerate(answers) if answer.status == 200]
    assert len(winners) == 1
    assert {answer.status for answer in answers} == {200, 403}
    assert (await api.log_in(user["email"], f"password of racer {winners[0]}")).status == 200
    again = await reset(api, token)
    assert (again.status, again.body["error"]) == (403, "invalid_token")


async def test_used_expired_replaced_invented_and_misused_tokens_get_one_answer(
    post: tuple[UsersApi, FakeGateway], sql: asyncpg.Connection
) -> None:
    api, gateway = post
    user, access = await api.someone()
    await forgot(api, user["email"])
    replaced = await gateway.token(user, "password_reset")
    await sql.execute("UPDATE users.one_time_tokens SET created_at = created_at - interval '2 minutes'")
    await forgot(api, user["email"])
    expired = await gateway.token(user, "password_reset", number=2)
    await sql.execute("UPDATE users.one_time_tokens SET expires_at = now()")
    await api.call("POST", "/v1/auth/email/verification", token=access)
    of_another_purpose = await gateway.token(user, "email_verification")

    answers = [await reset(api, token) for token in (replaced, expired, of_another_purpose, "x" * 43, "\u00e9", "x")]

    assert {answer.status for answer in answers} == {403}
    assert len({str(answer.body) for answer in answers}) == 1
    assert (await api.log_in(user["email"])).status == 200


async def test_a_weak_password_does_not_use_the_token_up(post: tuple[UsersApi, FakeGateway]) -> None:
    api, gateway = post
    user = (await api.register()).data
    await forgot(api, user["email"])
    token = await gateway.token(user, "password_reset")

    refused = await reset(api, token, user["email"])

    assert (refused.status, refused.body["error"]) == (422, "weak_password")
    assert refused.body["details"][0]["field"] == "new_password"
    assert (await reset(api, token, "x" * 1_000_000)).status == 422
    assert (await reset(api, token)).status == 200


async def test_known_and_unknown_addresses_get_the_same_answer_and_one_mail_goes_out(
    post: tuple[UsersApi, FakeGateway], sql: asyncpg.Connection
) -> None:
    api, gateway = post
    user = (await api.register()).data
    off = (await api.register()).data
    await sql.execute("UPDATE users.users SET status = 'suspended' WHERE id = $1", UUID(off["user_id"]))

    addresses = (user["email"], "nobody@example.com", off["email"], "no address", "", "a" * 300)
    answers = [await forgot(api, email) for email in addresses]

    assert {answer.status for answer in answers} == {202}
    assert len({str(answer.body) for answer in answers}) == 1
    await gateway.token(user, "password_reset")

    async def nothing_waits() -> bool:
        return bool(await sql.fetchval("SELECT count(*) = 0 FROM users.outbox WHERE topic = 'account_mail'"))

    await eventually(nothing_waits)
    assert len(gateway.asked) == 1


async def test_whoever_asks_again_and_again_sends_one_mail_a_minute(
    post: tuple[UsersApi, FakeGateway], sql: asyncpg.Connection
) -> None:
    api, gateway = post
    user = (await api.register()).data
    await asyncio.gather(*(forgot(api, user["email"]) for _ in range(10)))
    token = await gateway.token(user, "password_reset")

    async def nothing_waits() -> bool:
        return bool(await sql.fetchval("SELECT count(*) = 0 FROM users.outbox WHERE topic = 'account_mail'"))

    await eventually(nothing_waits)
    assert len(gateway.about(user, "password_reset")) == 1
    assert (await reset(api, token)).status == 200, "a stranger who goes on asking does not void the link in hand"


async def test_asking_for_mails_is_limited_by_account_known_or_not(settings: UsersSettings, tmp_path: Path) -> None:
    async with mailing(settings, tmp_path, account_mails_per_minute=3) as (api, _):
        user = (await api.register()).data
        known = [(await forgot(api, user["email"])).status for _ in range(5)]
    async with mailing(settings, tmp_path, account_mails_per_minute=3) as (api, _):
        unknown = [(await forgot(api, "nobody@example.com")).status for _ in range(5)]

    assert known == unknown == [202, 202, 202, 429, 429]


async def test_a_forged_host_is_in_no_link(post: tuple[UsersApi, FakeGateway]) -> None:
    api, gateway = post
    user = (await api.register()).data
    headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}

    async with api.session.post("/v1/auth/password/forgot", json={"email": user["email"]}, headers=headers) as answer:
        assert answer.status == 202

    await gateway.token(user, "password_reset")
    assert "evil" not in str(gateway.asked)


async def test_secrets_are_hashed_in_the_table_and_leave_the_outbox_with_the_mail(
    post: tuple[UsersApi, FakeGateway], sql: asyncpg.Connection
) -> None:
    api, gateway = post
    user = (await api.register()).data
    await forgot(api, user["email"])
    token = await gateway.token(user, "password_reset")

    async def gone() -> bool:
        kept: list[Any] = []
        for table in ("one_time_tokens", "outbox", "audit_events", "users"):
            kept += await sql.fetch(f"SELECT * FROM users.{table}")
        return token not in str(kept) and token.encode().hex() not in str(kept)

    await eventually(gone)
    assert len(token) == 43


async def test_a_mail_waits_for_the_gateway_and_is_dropped_where_it_is_refused_for_good(
    post: tuple[UsersApi, FakeGateway], sql: asyncpg.Connection
) -> None:
    api, gateway = post
    gateway.problem = AWAY
    user = (await api.register()).data
    await forgot(api, user["email"])
    await eventually(lambda: gateway.attempts)
    gateway.problem = None
    await sql.execute("UPDATE users.outbox SET available_at = now()")

    assert (await reset(api, await gateway.token(user, "password_reset"))).status == 200

    await eventually(lambda: gateway.about(user, "password_changed"))
    gateway.problem = GONE
    attempts = gateway.attempts
    other = (await api.register()).data
    await forgot(api, other["email"])
    await eventually(lambda: gateway.attempts > attempts)

    async def dropped() -> bool:
        return bool(await sql.fetchval("SELECT count(*) = 0 FROM users.outbox WHERE topic = 'account_mail'"))

    await eventually(dropped)
    assert gateway.about(other, "password_reset") == []


async def test_where_nobody_may_register_a_contact_becomes_no_account(settings: UsersSettings, tmp_path: Path) -> None:
    for mode, mails in (("closed", 0), ("open", 1)):
        async with mailing(settings, tmp_path, registration=mode) as (api, gateway):
            body = {"email": f"contact-{mode}@example.com"}
            contact = (await api.call("POST", "/v1/contacts", token=await api.admin(), body=body)).data
            admin = {"user_id": api.credentials["admin_user_id"]}

            await forgot(api, contact["email"])
            await forgot(api, api.credentials["admin_email"])

            await gateway.token(admin, "password_reset") if mode == "closed" else await gateway.token(
                contact, "password_reset"
            )
            assert len(gateway.about(contact, "password_reset")) == mails


async def test_the_owner_changes_it_and_other_logins_end(post: tuple[UsersApi, FakeGateway]) -> None:
    api, gateway = post
    user, access = await api.someone()
    other = (await api.log_in(user["email"])).data["access_token"]

    refused = [
        await change(api, access, current="wrong horse battery"),
        await change(api, access, current=PASSWORD + "\x00"),
        await change(api, access, new="password1"),
        await change(api, access, new="short"),
    ]
    assert [answer.body["error"] for answer in refused] == [
        "wrong_password", "wrong_password", "weak_password", "validation_failed",
    ]  # fmt: skip
    assert (await change(api, access)).status == 200

    for token in (other, access):
        assert (await api.call("GET", "/v1/users/me", token=token)).status == 401
    assert (await api.log_in(user["email"])).status == 401
    assert (await api.log_in(user["email"], NEW)).status == 200
    await eventually(lambda: gateway.about(user, "password_changed"))


async def test_of_several_changes_at_once_one_wins(post: tuple[UsersApi, FakeGateway]) -> None:
    api, _ = post
    user, access = await api.someone()

    answers = await asyncio.gather(*(change(api, access, new=f"password of racer {n}") for n in range(8)))

    assert sum(answer.status == 200 for answer in answers) == 1
    works = [(await api.log_in(user["email"], f"password of racer {n}")).status for n in range(8)]
    assert works.count(200) == 1
    assert works.index(200) == [answer.status for answer in answers].index(200)


async def test_guessing_the_present_password_is_limited(settings: UsersSettings, tmp_path: Path) -> None:
    async with mailing(settings, tmp_path, failed_logins_per_minute=4) as (api, _):
        _, access = await api.someone()

        guesses = await asyncio.gather(*(change(api, access, current=f"guess {n} at it") for n in range(12)))

    assert sorted(answer.status for answer in guesses) == [403] * 4 + [429] * 8


async def test_a_token_that_is_no_login_changes_no_password(api: UsersApi) -> None:
    assert (await change(api, "")).status == 401
    assert (await change(api, api.credentials["application_token"])).status == 403


async def test_tokens_are_dropped_a_day_after_their_end(
    settings: UsersSettings, tmp_path: Path, sql: asyncpg.Connection
) -> None:
    async with running(settings, tmp_path) as (api, service):
        user = (await api.register()).data
        for hours in (0, 23, 25):
            await sql.execute(
                "INSERT INTO users.one_time_tokens (id, user_id, purpose, secret_hash, email, expires_at) VALUES "
                "(gen_random_uuid(), $1, 'password_reset', $2, 'a', now() - make_interval(hours => $3))",
                UUID(user["user_id"]), bytes([hours]) * 32, hours,
            )  # fmt: skip
        tidying = asyncio.ensure_future(service.loops["tidy"]())
        try:

            async def two_left() -> bool:
                return bool(await sql.fetchval("SELECT count(*) = 2 FROM users.one_time_tokens"))

            await eventually(two_left)
        finally:
            tidying.cancel()


async def test_a_new_password_forgets_the_address_that_a_thief_had_named(post: tuple[UsersApi, FakeGateway]) -> None:
    """The link to the thief's address is good for a day: it would bring the account back to the thief."""
    api, gateway = post
    for number, renew in enumerate((reset, change)):
        user, access = await api.someone()
        body = {"email": f"thief{number}@evil.example", "current_password": PASSWORD}
        await api.call("PATCH", f"/v1/users/{user['user_id']}", token=access, body=body)
        link = await gateway.token(user, "email_verification")
        if renew is reset:
            await forgot(api, user["email"])
            assert (await reset(api, await gateway.token(user, "password_reset"))).status == 200
        else:
            assert (await change(api, access)).status == 200

        taken = await api.call("POST", "/v1/auth/email/verify", body={"token": link})

        assert (taken.status, taken.body["error"]) == (403, "invalid_token")
        token = (await api.log_in(user["email"], NEW)).data["access_token"]
        me = (await api.call("GET", "/v1/users/me", token=token)).data
        assert (me["email"], me["pending_email"]) == (user["email"], None)


async def test_who_first_shows_that_an_address_is_theirs_keeps_nothing_of_who_registered_it(
    post: tuple[UsersApi, FakeGateway], sql: asyncpg.Connection
) -> None:
    api, gateway = post
    kept: dict[bool, tuple[bool, int]] = {}
    for confirmed in (False, True):
        user = (await api.register(push_token=f"strangers-phone-{confirmed}")).data
        user_id = UUID(user["user_id"])
        given = "INSERT INTO users.user_permissions SELECT $1, id FROM users.permissions WHERE name = 'audit:read'"
        await sql.execute(given, user_id)
        await sql.execute("UPDATE users.users SET email_verified_at = now() WHERE id = $1 AND $2", user_id, confirmed)
        access = (await api.log_in(user["email"])).data["access_token"]
        wanted = {"name": "left behind", "abilities": ["self:read"], "expires_in_days": 9}
        token = (await api.call("POST", "/v1/auth/tokens", token=access, body=wanted)).data["token"]
        assert (await api.call("GET", "/v1/users/me", token=token)).status == 200

        await forgot(api, user["email"])
        body = {"token": await gateway.token(user, "password_reset"), "new_password": NEW, "revoke_tokens": False}
        assert (await api.call("POST", "/v1/auth/password/reset", body=body)).status == 200

        works = (await api.call("GET", "/v1/users/me", token=token)).status == 200
        kept[confirmed] = works, await sql.fetchval("SELECT count(*) FROM users.devices WHERE user_id = $1", user_id)
    assert kept == {False: (False, 0), True: (True, 1)}
