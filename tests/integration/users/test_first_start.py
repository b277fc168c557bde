"""The first start on a real database: what is in the files opens doors, whoever else starts at the same time."""

import asyncio
import json
from pathlib import Path

import asyncpg
import msgspec
import pytest

from carillon.kit.settings import SettingsError
from carillon.users.app import bootstrap, build, migrate
from carillon.users.settings import UsersSettings
from tests.integration.users.client import PASSWORD, UsersApi
from tests.integration.users.conftest import running
from tests.integration.users.mails import mailed


async def opens(api: UsersApi) -> bool:
    known = api.credentials
    if (await api.log_in(known["admin_email"], known["admin_password"])).status != 200:
        return False
    for service in ("gateway", "templates"):
        body = {"token": known["application_token"]}
        answer = await api.call("POST", "/v1/auth/introspect", token=api.service_token(service), body=body)
        if answer.status != 200 or answer.data["active"] is not True:
            return False
    for service in ("gateway", "email_worker", "push_worker"):
        wanted = {"user_ids": [known["admin_user_id"]], "channel": "email"}
        answer = await api.call("POST", "/v1/users/contacts", token=api.service_token(service), body=wanted)
        if answer.status != 200 or not answer.data["contacts"]:
            return False
    return True


async def test_the_credentials_of_the_first_start_open_their_doors(api: UsersApi) -> None:
    assert await opens(api)


async def test_several_first_starts_at_once_leave_credentials_that_work(
    settings: UsersSettings, tmp_path: Path, sql: asyncpg.Connection
) -> None:
    await sql.execute("DELETE FROM users.service_accounts")
    await sql.execute("DELETE FROM users.users")
    (tmp_path / "credentials.json").unlink()
    (tmp_path / "signing_key.pem").unlink()
    (tmp_path / "encryption.key").unlink()

    await asyncio.gather(*(bootstrap(settings, tmp_path) for _ in range(5)))

    assert await sql.fetchval("SELECT count(*) FROM users.users") == 1
    assert await sql.fetchval("SELECT count(*) FROM users.personal_access_tokens") == 6
    async with running(settings, tmp_path) as (api, _):
        assert await opens(api)


async def test_a_later_start_changes_neither_files_nor_rows(
    settings: UsersSettings, tmp_path: Path, sql: asyncpg.Connection
) -> None:
    files = contents(tmp_path)
    await migrate(settings)

    await bootstrap(settings, tmp_path)

    assert contents(tmp_path) == files
    assert await sql.fetchval("SELECT count(*) FROM users.personal_access_tokens") == 6


async def test_a_disabled_application_stays_so_and_the_token_in_its_place_is_left_alone(
    settings: UsersSettings, tmp_path: Path, sql: asyncpg.Connection
) -> None:
    await sql.execute("UPDATE users.service_accounts SET disabled_at = now() WHERE name = 'application'")
    known = json.loads((tmp_path / "credentials.json").read_text())
    (tmp_path / "credentials.json").write_text(json.dumps({**known, "application_token": "of another application"}))
    tokens = await sql.fetchval("SELECT count(*) FROM users.personal_access_tokens")

    await bootstrap(settings, tmp_path)

    assert json.loads((tmp_path / "credentials.json").read_text())["application_token"] == "of another application"
    assert await sql.fetchval("SELECT count(*) FROM users.personal_access_tokens") == tokens
    assert await sql.fetchval("SELECT disabled_at FROM users.service_accounts WHERE name = 'application'") is not None


async def test_files_that_were_lost_are_made_anew_and_old_tokens_fade_out(
    settings: UsersSettings, tmp_path: Path, sql: asyncpg.Connection
) -> None:
    before = json.loads((tmp_path / "credentials.json").read_text())
    (tmp_path / "credentials.json").unlink()
    (tmp_path / "tokens" / "gateway.token").unlink()

    await bootstrap(settings, tmp_path)

    async with running(settings, tmp_path) as (api, _):
        assert await opens(api)
        assert (await api.log_in(before["admin_email"], before["admin_password"])).status == 401
    fading = await sql.fetchval(
        "SELECT count(*) FROM users.personal_access_tokens WHERE expires_at < now() + interval '25 hours'"
    )
    assert fading == 2


async def test_who_registered_the_administrators_address_before_inherits_nothing(
    settings: UsersSettings, tmp_path: Path, sql: asyncpg.Connection
) -> None:
    async with running(settings, tmp_path) as (api, _):
        user, token = await api.someone(email="root@example.com", push_token="phone-of-before")
        path = f"/v1/users/{user['user_id']}"
        await api.call("PATCH", path, token=token, body={"email": "mallory@evil.example", "current_password": PASSWORD})
        link = await mailed(sql, user["user_id"], "mallory@evil.example")

        promoted = msgspec.structs.replace(settings, admin_email="Root@example.com")
        await bootstrap(promoted, tmp_path)

    async with running(promoted, tmp_path) as (api, _):
        assert api.credentials["admin_user_id"] == user["user_id"]
        assert (await api.call("GET", "/v1/users", token=token)).status == 401
        assert (await api.log_in("root@example.com")).status == 401
        taken = await api.call("POST", "/v1/auth/email/verify", body={"token": link})
        assert (taken.status, taken.body["error"]) == (403, "invalid_token"), "the address stays the administrator's"
        admin = (await api.call("GET", "/v1/users/me", token=await api.admin())).data
        assert (admin["email"], admin["pending_email"], admin["push_token"]) == ("root@example.com", None, None)
        assert (await api.call("GET", "/v1/users", token=await api.admin())).status == 200


async def test_an_administrator_who_changed_the_password_keeps_it(settings: UsersSettings, tmp_path: Path) -> None:
    chosen = "staple gun and honey"
    async with running(settings, tmp_path) as (api, _):
        known = api.credentials
        body = {"current_password": known["admin_password"], "new_password": chosen}
        answer = await api.call("POST", "/v1/auth/password/change", token=await api.admin(), body=body)
        assert answer.status == 200

    await bootstrap(settings, tmp_path)

    async with running(settings, tmp_path) as (api, _):
        assert (api.credentials["admin_password"], api.credentials["admin_user_id"]) == ("", known["admin_user_id"])
        assert (await api.log_in(known["admin_email"], chosen)).status == 200
        assert api.credentials["application_token"] == known["application_token"]


@pytest.mark.parametrize(
    ("file", "setting"),
    [("signing_key.pem", "CARILLON_USERS_SIGNING_KEY_FILE"), ("encryption.key", "CARILLON_USERS_ENCRYPTION_KEY_FILE")],
)
async def test_without_its_keys_the_service_says_what_is_missing(
    settings: UsersSettings, tmp_path: Path, file: str, setting: str
) -> None:
    (tmp_path / file).unlink()

    with pytest.raises(SettingsError, match=setting):
        async with build(settings).open():
            pass


def test_an_administrator_without_an_address_is_noticed_before_anything_opens() -> None:
    settings = UsersSettings(database_url="postgresql://nowhere", broker_url="postgresql://nowhere", admin_email="root")

    with pytest.raises(SettingsError, match="CARILLON_USERS_ADMIN_EMAIL"):
        build(settings)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
