"""Processes are killed with -9, in every order: no committed row is lost, nothing stays behind, no stranger is hurt."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from carillon.kit.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError, embedded_postgres
from carillon.kit.embedded_postgres.identity import ServerUser, choose_server_user
from tests.integration.kit.embedded_postgres.conftest import alive, first_line, query, running_parent, spawn_parent
from tests.support.waiting import eventually


def gone(pid: int) -> bool:
    return not alive(pid)


def found(data_dir: Path, pattern: str) -> bool:
    return any(data_dir.glob(pattern))


async def answers(postgres: EmbeddedPostgres) -> bool:
    try:
        return await query(postgres, "SELECT 1") == 1
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False


def is_busy(dsn: str) -> object | Awaitable[object]:
    return query(dsn, "SELECT true FROM pg_stat_activity WHERE query LIKE 'DO %'")


async def back_again(postgres: EmbeddedPostgres) -> None:
    condition: Callable[[], bool | Awaitable[bool]] = partial(answers, postgres)
    await eventually(condition, within=30)


@asynccontextmanager
async def backend(dsn: str) -> AsyncIterator[int]:
    """Hold a connection open; gives the pid of the process that serves it."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        yield connection.get_server_pid()
    finally:
        connection.terminate()


@contextmanager
def stranger_of(user: ServerUser) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program of the server's user that has nothing to do with PostgreSQL."""
    uid, gid = (user.uid, user.gid) if user.borrowed else (None, None)
    with subprocess.Popen(["sleep", "600"], user=uid, group=gid) as stranger:
        try:
            yield stranger
        finally:
            stranger.kill()


async def test_committed_rows_survive_the_kill_of_the_parent_and_the_server_ends_by_itself(data_dir: Path) -> None:
    async with running_parent(data_dir) as parent:
        await query(parent.dsn, "CREATE TABLE kept (n int)")
        for n in range(20):
            await query(parent.dsn, "INSERT INTO kept VALUES ($1)", n)
        await parent.kill()
        await eventually(lambda: not alive(parent.pid))

    async with embedded_postgres(data_dir) as postgres:
        assert await query(postgres, "SELECT count(*) FROM kept") == 20


async def test_a_parent_that_is_killed_again_and_again_can_always_be_followed(data_dir: Path) -> None:
    for n in range(4):
        async with running_parent(data_dir) as parent:
            await query(parent.dsn, "CREATE TABLE IF NOT EXISTS kept (n int)")
            await query(parent.dsn, "INSERT INTO kept VALUES ($1)", n)
            await parent.kill()

    async with embedded_postgres(data_dir) as postgres:
        assert await query(postgres, "SELECT count(*) FROM kept") == 4


async def test_a_killed_server_comes_back_on_the_same_port_with_every_row(postgres: EmbeddedPostgres) -> None:
    await query(postgres, "CREATE TABLE kept AS SELECT 42 AS answer")
    killed = postgres.pid

    os.kill(killed, signal.SIGKILL)
    await back_again(postgres)

    assert postgres.pid != killed
    assert await query(postgres, "SELECT answer FROM kept") == 42


async def test_a_server_is_brought_back_although_a_backend_outlives_it(postgres: EmbeddedPostgres) -> None:
    async with backend(postgres.superuser_dsn()) as pid:
        os.kill(pid, signal.SIGSTOP)
        os.kill(postgres.pid, signal.SIGKILL)

        await back_again(postgres)

        assert not alive(pid)


async def test_a_server_is_brought_back_although_a_backend_is_busy(postgres: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(postgres.superuser_dsn(), timeout=10)
    busy = asyncio.create_task(connection.execute("DO $$ BEGIN LOOP END LOOP; END $$", timeout=60))
    await eventually(partial(is_busy, postgres.superuser_dsn()))

    os.kill(postgres.pid, signal.SIGKILL)
    await back_again(postgres)

    with pytest.raises((OSError, asyncpg.PostgresError)):
        await busy


async def test_a_new_owner_ends_what_outlived_both_the_server_and_its_parent(data_dir: Path) -> None:
    async with running_parent(data_dir) as parent, backend(parent.dsn) as pid:
        await query(parent.dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
        os.kill(pid, signal.SIGSTOP)
        os.kill(parent.process.pid, signal.SIGSTOP)  # it must not bring the server back
        os.kill(parent.pid, signal.SIGKILL)
        await parent.kill()
        assert alive(pid)

        async with embedded_postgres(data_dir) as postgres:
            assert not alive(pid)
            assert await query(postgres, "SELECT answer FROM kept") == 42


async def test_a_stranger_who_got_the_number_of_a_former_server_is_left_alone(data_dir: Path) -> None:
    async with embedded_postgres(data_dir) as postgres:
        pid_file = postgres.pid_file
        former = pid_file.read_bytes()
    user = choose_server_user(pid_file.parent)
    with stranger_of(user) as stranger:
        pid_file.write_bytes(str(stranger.pid).encode() + b"\n" + former.split(b"\n", 1)[1])
        os.chown(pid_file, user.uid, user.gid)

        async with embedded_postgres(data_dir) as postgres:
            assert await answers(postgres)
            assert stranger.poll() is None


async def test_two_clusters_leave_each_other_alone(data_dir: Path, postgres: EmbeddedPostgres) -> None:
    pid = postgres.pid
    async with running_parent(data_dir.with_name("other")) as parent:
        os.kill(parent.process.pid, signal.SIGKILL)
        await eventually(lambda: not alive(parent.pid))

    async with embedded_postgres(data_dir.with_name("other")) as other:
        assert await answers(other)
        assert await answers(postgres)

    assert postgres.pid == pid


async def test_ctrl_c_is_a_fast_shutdown_that_reaches_the_server_through_its_parent(data_dir: Path) -> None:
    async with running_parent(data_dir) as parent, backend(parent.dsn):
        assert await parent.interrupt() == 130
        assert not alive(parent.pid)

    log = (data_dir / "postgres.log").read_text()
    assert log.count("received fast shutdown request") == 1
    assert "database system is shut down" in log


async def test_a_server_that_keeps_dying_fails_the_context_with_the_reason(data_dir: Path) -> None:
    async def kill_whenever_it_is_back() -> None:
        async with embedded_postgres(data_dir) as postgres:
            while True:
                killed = postgres.pid
                os.kill(killed, signal.SIGKILL)
                await eventually(partial(gone, killed))
                await back_again(postgres)

    with pytest.raises(EmbeddedPostgresError, match="died 5 times within 60 s; the reason is in"):
        await kill_whenever_it_is_back()


async def test_a_data_folder_removed_while_running_ends_the_context_and_the_server(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carillon.kit.embedded_postgres.supervisor.FOLDER_CHECK_S", 0.1)
    started: list[EmbeddedPostgres] = []
    pids: list[int] = []

    async def remove_while_running() -> None:
        async with embedded_postgres(data_dir) as postgres, asyncio.timeout(30):
            started.append(postgres)
            pids.append(postgres.pid)
            await asyncio.to_thread(shutil.rmtree, data_dir)
            await asyncio.Event().wait()

    with pytest.raises(EmbeddedPostgresError, match="was removed while PostgreSQL ran; start again"):
        await remove_while_running()

    assert not alive(pids[0])
    await asyncio.to_thread(shutil.rmtree, started[0].pid_file.parents[1], ignore_errors=True)


async def test_a_data_folder_removed_before_its_server_died_is_not_taken_back_and_a_new_start_is_fresh(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carillon.kit.embedded_postgres.supervisor.FOLDER_CHECK_S", 600)
    homes, observed = [], []

    async def remove_while_running() -> None:
        async with embedded_postgres(data_dir) as postgres:
            homes.append(postgres.pid_file.parents[1])
            await query(postgres, "CREATE TABLE former ()")
            pid = postgres.pid
            await asyncio.to_thread(shutil.rmtree, data_dir)
            async with embedded_postgres(data_dir) as successor:
                observed.append(await query(successor, "SELECT to_regclass('former')::text"))
                observed.append(alive(pid))
                os.kill(pid, signal.SIGKILL)
                await asyncio.Event().wait()

    with pytest.raises(EmbeddedPostgresError, match="was removed while PostgreSQL ran; start again"):
        await remove_while_running()

    assert observed == [None, True], "the successor is empty, and leaves the former server alone"
    for home in homes:
        await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)


async def test_an_initdb_that_was_killed_in_the_middle_is_done_again(data_dir: Path) -> None:
    process = await spawn_parent(data_dir)
    await eventually(partial(found, data_dir, "postgres/draft-*/data/base/1/*"), every=0.001)
    process.kill()
    await process.communicate(b"")
    assert not found(data_dir, "postgres/data")

    async with embedded_postgres(data_dir) as postgres:
        assert await answers(postgres)

    assert not found(data_dir, "postgres/draft-*")


async def test_a_start_that_is_cancelled_leaves_no_process_and_no_lock(data_dir: Path) -> None:
    async def start() -> None:
        async with embedded_postgres(data_dir):
            raise AssertionError("the start was cancelled before")

    for sign_of_work in ("postgres/draft-*/data/base", "postgres/data/postmaster.pid"):
        task = asyncio.create_task(start())
        await eventually(partial(found, data_dir, sign_of_work), every=0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async with embedded_postgres(data_dir) as postgres:
        assert await answers(postgres)


async def test_an_error_of_the_body_comes_through_and_the_server_is_stopped(data_dir: Path) -> None:
    pids = []

    async def fail() -> None:
        async with embedded_postgres(data_dir) as postgres:
            pids.append(postgres.pid)
            raise LookupError("the body's own")

    with pytest.raises(LookupError, match="the body's own"):
        await fail()

    assert not alive(*pids)


async def test_what_a_killed_parent_left_in_the_folder_for_temporary_files_is_removed(data_dir: Path) -> None:
    async with running_parent(data_dir) as parent:
        socket_dir = (data_dir / "postgres.socket").readlink()
        assert socket_dir.is_dir()
        await parent.kill()

    async with embedded_postgres(data_dir):
        assert not socket_dir.exists()


async def test_a_second_process_is_told_the_number_of_the_first(data_dir: Path) -> None:
    async with running_parent(data_dir) as parent:
        second = await spawn_parent(data_dir)
        refusal = await first_line(second)
        await second.communicate(b"")

        assert f"is in use by process {parent.process.pid}; stop it or set CARILLON_DATA_DIR" in refusal
        assert second.returncode == 1
