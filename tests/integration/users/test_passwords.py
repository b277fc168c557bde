"""Passwords over HTTP: which are taken, in which spellings they work, and how old hashes are renewed."""

import asyncio
import hashlib
import io
from pathlib import Path
from uuid import UUID

import asyncpg
import bcrypt
import msgspec
import pytest

from carillon.users.settings import UsersSettings
from tests.integration.users.client import PASSWORD, UsersApi
from tests.integration.users.conftest import running


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("password1", "weak_password"),
        ("QWERTYUIOP", "weak_password"),
        ("ada.l@example.com", "weak_password"),
        ("Ada Lovelace", "weak_password"),
        ("\ufdfa" * 50, "weak_password"),
        ("short", "validation_failed"),
        ("x" * 257, "validation_failed"),
        ("x" * 1_000_000, "validation_failed"),
        ("nul\x00nul\x00nul", "validation_failed"),
    ],
    ids=range(9),
)
async def test_a_password_that_others_would_guess_is_refused_with_the_reason(
    api: UsersApi, password: str, code: str
) -> None:
    answer = await api.register(email="ada.l@example.com", name="Ada Lovelace", password=password)

    assert (answer.status, answer.body["error"]) == (422, code)
    assert answer.body["details"][0]["field"] == "password"
    assert "x" * 20 not in str(answer.body)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b'{"email": "a@example.com", "password": "\\ud800 lone surrogate"}', {400}),
        (b'{"email": "a@example.com", "password": "' + b"x" * 1_000_000 + b'"}', {422}),
        (b'{"email": "a@example.com", "password": "\\u0000\\u0000"}', {401}),
        (b'{"email": "a@example.com\\u0000", "password": "correct horse"}', {422}),
    ],
    ids=range(4),
)
async def test_hostile_passwords_are_answered_before_anything_is_computed(
    api: UsersApi, raw: bytes, status: set[int]
) -> None:
    answer = await api.call("POST", "/v1/auth/login", raw=raw)

    assert answer.status in status, answer.body


async def test_a_body_of_megabytes_is_not_read(api: UsersApi) -> None:
    body = io.BytesIO(b'{"email": "a@example.com", "password": "' + b"x" * 2_000_000 + b'"}')
    headers = {"Content-Type": "application/json"}

    async with api.session.post("/v1/auth/login", data=body, headers=headers) as answer:
        assert (answer.status, (await answer.json())["error"]) == (413, "body_too_large")


async def test_a_password_works_in_every_spelling_of_it(api: UsersApi) -> None:
    user = (await api.register(password="caf\u00e9 \uff43orrect horse")).data

    for spelled in ("caf\u00e9 correct horse", "cafe\u0301 correct horse"):
        assert (await api.log_in(user["email"], spelled)).status == 200
    assert (await api.log_in(user["email"], "Caf\u00e9 correct horse")).status == 401


async def test_an_old_hash_becomes_argon2id_at_the_next_right_login_and_at_no_wrong_one(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    user = (await api.register()).data
    user_id = UUID(user["user_id"])
    old = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    await sql.execute("UPDATE users.users SET password_hash = $2 WHERE id = $1", user_id, old)

    async def kept() -> str:
        return str(await sql.fetchval("SELECT password_hash FROM users.users WHERE id = $1", user_id))

    assert (await api.log_in(user["email"], "wrong horse")).status == 401
    assert await kept() == old
    statuses = {answer.status for answer in await asyncio.gather(*(api.log_in(user["email"]) for _ in range(5)))}
    assert statuses == {200}
    renewed = await kept()
    assert renewed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert (await api.log_in(user["email"])).status == 200
    assert await kept() == renewed


async def test_two_long_passwords_that_begin_alike_are_two_passwords(api: UsersApi, sql: asyncpg.Connection) -> None:
    shared = hashlib.sha256(b"shared").hexdigest() + "12345678"
    assert len(shared) == 72
    user = (await api.register(password=shared + "a")).data
    assert (await api.log_in(user["email"], shared + "b")).status == 401

    as_bcrypt = bcrypt.hashpw(shared.encode(), bcrypt.gensalt(4)).decode()
    await sql.execute("UPDATE users.users SET password_hash = $2 WHERE id = $1", UUID(user["user_id"]), as_bcrypt)

    assert [(await api.log_in(user["email"], shared + end)).status for end in "ab"] == [401, 401]
    assert (await api.log_in(user["email"], shared)).status == 200


async def log_in_from(api: UsersApi, network: str, email: str, password: str) -> int:
    body, headers = {"email": email, "password": password}, {"X-Forwarded-For": network}
    async with api.session.post("/v1/auth/login", json=body, headers=headers) as answer:
        return answer.status


async def test_a_stranger_who_guesses_locks_nobody_out_and_many_strangers_guess_no_more_than_is_said(
    settings: UsersSettings, tmp_path: Path
) -> None:
    limited = msgspec.structs.replace(settings, failed_logins_per_minute=2, trusted_proxies=("127.0.0.0/8",))
    async with running(limited, tmp_path) as (api, _):
        ada, bob = (await api.register()).data["email"], (await api.register()).data["email"]
        guesses = [await log_in_from(api, "203.0.113.9", ada, f"guess {n} at it") for n in range(4)]
        assert guesses == [401, 401, 429, 429]
        assert await log_in_from(api, "203.0.113.9", ada, PASSWORD) == 429
        assert await log_in_from(api, "198.51.100.7", ada, PASSWORD) == 200

        spread = [await log_in_from(api, f"192.0.2.{n}", bob, "guess at it") for n in range(30)]

        assert spread[:20] == [401] * 20
        assert spread[-5:] == [429] * 5
