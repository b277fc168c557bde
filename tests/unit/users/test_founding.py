"""The first start: afterwards every kept credential works, whatever was there before."""

import json
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from carillon.kit.settings import SettingsError
from carillon.users.actions.authenticating import secret_hash
from carillon.users.actions.founding import APPLICATION, SERVICES, found
from carillon.users.domain.people import address
from carillon.users.domain.tokens import opaque_parts
from carillon.users.providers import secret_files
from carillon.users.providers.installation import Installation, ensure_signing_key
from tests.unit.users.fakes import FakeFoundations, FakeKeeper, FakePasswords

ADMIN = address("admin@carillon.local")


async def lay(foundations: FakeFoundations, keeper: FakeKeeper | Installation, *, token_days: int = 365) -> None:
    await found(ADMIN, layer=foundations, passwords=FakePasswords(), keeper=keeper, token_days=token_days)


def assert_everything_works(foundations: FakeFoundations, keeper: FakeKeeper) -> None:
    known = keeper.known
    assert known is not None
    assert foundations.admins[ADMIN.key] == (known.admin_user_id, f"hash of {known.admin_password}")
    for principal, token in [(APPLICATION, known.application_token), *((s, keeper.tokens[s.name]) for s in SERVICES)]:
        parts = opaque_parts(token)
        assert parts is not None
        account_id, abilities, kept, expires_at = foundations.tokens[parts.token_id]
        assert account_id == foundations.accounts[principal.name][0]
        assert set(abilities) == set(principal.permissions)
        assert kept == secret_hash(parts.secret)
        assert expires_at > datetime.now(UTC)


async def test_the_first_start_makes_an_administrator_and_a_token_for_each() -> None:
    foundations, keeper = FakeFoundations(), FakeKeeper()

    await lay(foundations, keeper)

    assert_everything_works(foundations, keeper)
    assert set(APPLICATION.permissions) == {"notifications:send", "notifications:read"}
    assert set(keeper.tokens) == {"gateway", "users", "templates", "email_worker", "push_worker"}


async def test_an_administrator_who_chose_a_password_keeps_it_and_the_file_no_longer_tells_one() -> None:
    foundations, keeper = FakeFoundations(), FakeKeeper()
    await lay(foundations, keeper)
    admin_id, _ = foundations.admins[ADMIN.key]
    foundations.admins[ADMIN.key] = (admin_id, "hash of their own")
    foundations.changed.add(ADMIN.key)

    for _ in range(2):
        await lay(foundations, keeper)

        assert foundations.admins[ADMIN.key] == (admin_id, "hash of their own")
        assert keeper.known is not None
        assert (keeper.known.admin_password, keeper.known.admin_user_id) == ("", admin_id)

    assert keeper.known is not None
    written = msgspec.structs.replace(keeper.known, admin_password="their own")
    keeper.known = written
    await lay(foundations, keeper)
    assert keeper.known is written, "what the operator writes there is kept while it fits"
    keeper.known = None
    await lay(foundations, keeper)
    assert foundations.admins[ADMIN.key] == (admin_id, "hash of their own"), "a lost file is no reason to change it"


async def test_a_later_start_changes_nothing() -> None:
    foundations, keeper = FakeFoundations(), FakeKeeper()
    await lay(foundations, keeper)
    before, writes = (keeper.known, dict(keeper.tokens), dict(foundations.tokens)), keeper.writes

    await lay(foundations, keeper)

    assert (keeper.known, keeper.tokens, foundations.tokens) == before
    assert keeper.writes == writes


async def test_files_without_their_database_are_replaced_by_ones_that_work() -> None:
    keeper = FakeKeeper()
    await lay(FakeFoundations(), keeper)
    lost = keeper.known
    foundations = FakeFoundations()

    await lay(foundations, keeper)

    assert keeper.known != lost
    assert_everything_works(foundations, keeper)


async def test_a_database_without_its_files_gets_new_ones_that_work() -> None:
    foundations = FakeFoundations()
    await lay(foundations, FakeKeeper())
    keeper = FakeKeeper()

    await lay(foundations, keeper)

    assert_everything_works(foundations, keeper)


async def test_only_what_does_not_work_is_replaced() -> None:
    foundations, keeper = FakeFoundations(), FakeKeeper()
    await lay(foundations, keeper)
    known, kept = keeper.known, dict(keeper.tokens)
    keeper.tokens["gateway"] = "crl_spoiled"
    del keeper.tokens["templates"]
    keeper.tokens["push_worker"] = kept["email_worker"]

    await lay(foundations, keeper)

    assert keeper.known == known
    assert keeper.tokens["email_worker"] == kept["email_worker"]
    assert_everything_works(foundations, keeper)


async def test_a_token_near_its_end_is_renewed() -> None:
    foundations, keeper = FakeFoundations(), FakeKeeper()
    await lay(foundations, keeper, token_days=30)
    kept = dict(keeper.tokens)
    aged = {key: (*row[:3], row[3] - timedelta(days=25)) for key, row in foundations.tokens.items()}
    foundations.tokens = aged

    await lay(foundations, keeper, token_days=30)

    assert all(keeper.tokens[name] != kept[name] for name in kept)
    assert_everything_works(foundations, keeper)


async def test_a_full_disk_leaves_the_database_as_it_was() -> None:
    foundations, keeper = FakeFoundations(), FakeKeeper(full=True)

    with pytest.raises(OSError, match="No space"):
        await lay(foundations, keeper)

    assert (foundations.admins, foundations.tokens) == ({}, {})


async def test_files_are_readable_by_their_owner_alone_under_any_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        await lay(FakeFoundations(), Installation(tmp_path / "data"))
        await ensure_signing_key(tmp_path / "data" / "signing_key.pem")
    finally:
        os.umask(before)

    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert {path.name for path in files} == {
        "credentials.json", "signing_key.pem", "gateway.token", "templates.token", "email_worker.token",
        "push_worker.token", "users.token",
    }  # fmt: skip
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "data" / "tokens").stat().st_mode) == 0o700
    known = json.loads((tmp_path / "data" / "credentials.json").read_text())
    assert {"admin_email", "admin_password", "application_token"} <= set(known)


async def test_broken_files_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "tokens").mkdir()
    (tmp_path / "credentials.json").write_bytes(b'{"admin_email": \xff')
    (tmp_path / "tokens" / "gateway.token").write_bytes(b"\xff\xfe")

    await lay(FakeFoundations(), Installation(tmp_path))

    known = await Installation(tmp_path).credentials()
    assert known is not None
    assert opaque_parts(await Installation(tmp_path).token("gateway")) is not None


async def test_the_signing_key_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "signing_key.pem"
    await ensure_signing_key(path)
    made = path.read_bytes()

    await ensure_signing_key(path)

    assert path.read_bytes() == made
    assert secret_files.keep_first(path, b"another") is False
    assert path.read_bytes() == made
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_file_that_cannot_be_used_is_told_by_name_and_leaves_no_draft_behind(tmp_path: Path) -> None:
    (tmp_path / "gateway.token").mkdir()
    with pytest.raises(SettingsError, match=r"gateway\.token: Is a directory"):
        secret_files.keep(tmp_path / "gateway.token", b"secret")
    with pytest.raises(SettingsError, match=r"gateway\.token: Is a directory"):
        secret_files.read(tmp_path / "gateway.token")
    assert [entry.name for entry in tmp_path.iterdir()] == ["gateway.token"]
