"""People of another system are taken in with the hashes of their passwords, each with an outcome of its own."""

import hashlib
from base64 import b64encode
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import bcrypt
from argon2 import PasswordHasher

from tests.integration.users.client import PASSWORD, Answer, UsersApi

DIGEST = b64encode(hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), b"saltsalt", 1000)).decode()
HASHES = {
    "bcrypt": bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode(),
    "argon2": PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD),
    "Django": f"pbkdf2_sha256$1000$saltsalt${DIGEST}",
}
FOUR_GIB = "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$" + "A" * 43


async def take_in(api: UsersApi, users: list[dict[str, Any]], token: str | None = None) -> Answer:
    bearer = await api.admin() if token is None else token
    return await api.call("POST", "/v1/users/import", token=bearer, body={"users": users})


def somewhere() -> str:
    return f"{uuid4().hex}@example.com"


async def test_who_is_imported_signs_in_with_the_password_of_before(api: UsersApi, sql: asyncpg.Connection) -> None:
    users: list[dict[str, Any]] = [
        {"email": somewhere(), "name": name, "password_hash": kept} for name, kept in HASHES.items()
    ]
    users.append({"email": somewhere(), "locale": "pt-BR", "timezone": "Europe/Lisbon", "verified": True})

    results = (await take_in(api, users)).data["results"]

    assert [result["outcome"] for result in results] == ["made"] * 4
    for user in users[:3]:
        assert (await api.log_in(str(user["email"]))).status == 200
    kept = await sql.fetch("SELECT password_hash FROM users.users WHERE name = ANY($1)", list(HASHES))
    assert all(row["password_hash"].startswith("$argon2id$v=19$m=19456") for row in kept)
    last = await sql.fetchrow("SELECT * FROM users.users WHERE id = $1", UUID(results[3]["user_id"]))
    assert (last["locale"], last["timezone"], last["password_hash"]) == ("pt-BR", "Europe/Lisbon", None)
    assert last["email_verified_at"] is not None
    assert await sql.fetchval("SELECT count(*) FROM users.audit_events WHERE action = 'user_imported'") == 4


async def test_whoever_is_there_stays_as_they_are_and_a_second_run_makes_nobody(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    user = (await api.register()).data
    strangers = bcrypt.hashpw(b"the password of a stranger", bcrypt.gensalt(4)).decode()
    users = [{"email": user["email"].upper(), "password_hash": strangers, "name": "Eve"}, {"email": somewhere()}]

    runs = [(await take_in(api, users)).data["results"] for _ in range(2)]

    assert [[result["outcome"] for result in run] for run in runs] == [["there", "made"], ["there", "there"]]
    assert (await api.log_in(user["email"])).status == 200
    assert (await api.log_in(user["email"], "the password of a stranger")).status == 401


async def test_what_is_wrong_with_one_is_said_and_stops_nobody_else(api: UsersApi, sql: asyncpg.Connection) -> None:
    wrong: list[dict[str, Any]] = [
        {"email": "no address"},
        {"email": somewhere(), "name": "two\nlines"},
        {"email": somewhere(), "password_hash": FOUR_GIB},
        {"email": somewhere(), "password_hash": "correct horse"},
        {"email": somewhere(), "password_hash": "$2b$31$" + "A" * 53},
        {"email": somewhere(), "locale": "pt_BR"},
        {"email": somewhere(), "timezone": "Mars/Olympus"},
        {"email": somewhere(), "attributes": {"a": "\x00"}},
    ]
    before = await sql.fetchval("SELECT count(*) FROM users.users")

    results = (await take_in(api, [*wrong, {"email": somewhere()}])).data["results"]

    assert [result["outcome"] for result in results] == ["refused"] * len(wrong) + ["made"]
    assert all(result["reason"] for result in results[:-1])
    assert "4194304" in results[2]["reason"]
    assert await sql.fetchval("SELECT count(*) FROM users.users") == before + 1


async def test_importing_needs_its_permission_and_takes_no_more_than_it_says(api: UsersApi) -> None:
    _, somebody = await api.someone()

    assert (await take_in(api, [{"email": somewhere()}], somebody)).status == 403
    assert (await take_in(api, [{"email": somewhere()}], api.credentials["application_token"])).status == 403
    refused: list[list[dict[str, Any]]] = [
        [],
        [{"email": "a@example.com"}] * 501,
        [{"email": "a@example.com", "roles": ["admin"]}],
        [{}],
    ]
    for users in refused:
        assert (await take_in(api, users)).status == 422
