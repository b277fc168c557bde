"""As root the server runs as somebody else, with programs and data where that user can read them."""

import asyncio
import ctypes
import os
import pwd
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from carillon.kit.embedded_postgres import (
    EmbeddedPostgres,
    EmbeddedPostgresError,
    embedded_postgres,
    remove_embedded_postgres,
)
from carillon.kit.embedded_postgres.binaries import Binaries, find_binaries, reachable_binaries
from carillon.kit.embedded_postgres.home import shelter_for_root
from carillon.kit.embedded_postgres.identity import UNPRIVILEGED_USERS, ServerUser, choose_server_user
from tests.integration.kit.embedded_postgres.conftest import first_line, query, running_parent, spawn_parent

ORDINARY = pwd.getpwnam("nobody").pw_uid
NAMELESS = 54321


def owner_of_process(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def program_of(pid: int) -> Path:
    return Path(f"/proc/{pid}/exe").readlink()


def a_week_passes(home: Path) -> None:
    long_ago = time.time() - 8 * 24 * 3600
    os.utime(home / "owner.json", (long_ago, long_ago))


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def home_of(postgres: EmbeddedPostgres) -> Path:
    return postgres.pid_file.parents[1]


@pytest.fixture
async def reachable_data_dir(reachable_folder: Path) -> AsyncIterator[Path]:
    yield reachable_folder / ".carillon"
    await remove_embedded_postgres(reachable_folder / ".carillon")


@pytest.fixture
def private_folder() -> Iterator[Path]:
    """Give a folder that only root can enter, on the disk of the homes: the folder for tests may be another one."""
    folder = Path(tempfile.mkdtemp(prefix="carillon-test-", dir=shelter_for_root().parent))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def small_disk(reachable_folder: Path) -> Iterator[Path]:
    """Mount a disk of 60 MB."""
    folder, libc = reachable_folder / "disk", ctypes.CDLL(None, use_errno=True)
    folder.mkdir()
    if libc.mount(b"none", os.fsencode(folder), b"tmpfs", 0, b"size=60m,mode=755") != 0:
        pytest.xfail(f"mounting is not permitted here: {os.strerror(ctypes.get_errno())}")
    yield folder
    assert libc.umount2(os.fsencode(folder), 0) == 0


async def test_the_server_runs_as_an_unprivileged_user_with_no_group_of_ours(postgres: EmbeddedPostgres) -> None:
    status = await asyncio.to_thread(Path(f"/proc/{postgres.pid}/status").read_text)

    assert choose_server_user(postgres.pid_file.parent).name in UNPRIVILEGED_USERS
    assert owner_of_process(postgres.pid) != 0
    assert "\nGroups:\t \n" in status
    assert "\nCapEff:\t0000000000000000\n" in status


async def test_below_a_folder_that_the_user_cannot_enter_a_link_shows_where_the_data_is(
    data_dir: Path, postgres: EmbeddedPostgres
) -> None:
    link = data_dir / "postgres"

    assert link.is_symlink()
    assert link.resolve() == home_of(postgres)
    assert not home_of(postgres).is_relative_to(data_dir)


async def test_in_a_reachable_folder_the_data_stays_there_and_secrets_stay_secret(reachable_data_dir: Path) -> None:
    async with embedded_postgres(reachable_data_dir) as postgres:
        assert home_of(postgres) == reachable_data_dir / "postgres"
        assert home_of(postgres).stat().st_uid == 0
        assert postgres.pid_file.parent.stat().st_uid == owner_of_process(postgres.pid)
        assert mode(reachable_data_dir / "postgres.json") == 0o600


async def test_a_private_data_folder_is_opened_just_enough(reachable_data_dir: Path) -> None:
    os.mkdir(reachable_data_dir, mode=0o700)  # noqa: PTH102

    async with embedded_postgres(reachable_data_dir) as postgres:
        assert home_of(postgres) == reachable_data_dir / "postgres"
        assert mode(reachable_data_dir) == 0o711


async def test_a_strict_umask_changes_nothing(reachable_data_dir: Path) -> None:
    former = os.umask(0o077)
    try:
        async with embedded_postgres(reachable_data_dir) as postgres:
            assert await query(postgres, "SELECT 1") == 1
    finally:
        os.umask(former)


async def test_removing_the_data_folder_really_starts_over_and_leaves_no_orphan_behind(private_folder: Path) -> None:
    data_dir = private_folder / ".carillon"
    async with embedded_postgres(data_dir) as first:
        await query(first, "CREATE TABLE former ()")
    await asyncio.to_thread(shutil.rmtree, data_dir)

    async with embedded_postgres(data_dir) as second:
        assert await query(second, "SELECT to_regclass('former')::text") is None
        assert home_of(second) != home_of(first)
        assert not home_of(first).exists()

    await remove_embedded_postgres(data_dir)


async def test_a_start_elsewhere_sweeps_a_removed_data_folder_after_a_week_only(private_folder: Path) -> None:
    data_dir, elsewhere = private_folder / ".carillon", private_folder / "elsewhere"
    async with embedded_postgres(data_dir) as first:
        pass
    await asyncio.to_thread(shutil.rmtree, data_dir)

    async with embedded_postgres(elsewhere):
        assert home_of(first).exists()
    await remove_embedded_postgres(elsewhere)
    a_week_passes(home_of(first))
    async with embedded_postgres(elsewhere):
        assert not home_of(first).exists()

    await remove_embedded_postgres(elsewhere)


async def test_a_data_folder_that_kept_its_identity_finds_its_rows_again(private_folder: Path) -> None:
    data_dir = private_folder / ".carillon"
    async with embedded_postgres(data_dir) as postgres:
        await query(postgres, "CREATE TABLE kept AS SELECT 42 AS answer")
    (data_dir / "postgres").unlink()
    (data_dir / "postgres.lock").unlink()

    async with embedded_postgres(data_dir) as postgres:
        assert await query(postgres, "SELECT answer FROM kept") == 42

    await remove_embedded_postgres(data_dir)


async def test_a_moved_data_folder_keeps_its_rows_although_another_takes_its_place(private_folder: Path) -> None:
    data_dir = private_folder / ".carillon"
    async with embedded_postgres(data_dir) as postgres:
        await query(postgres, "CREATE TABLE kept AS SELECT 42 AS answer")
    moved = await asyncio.to_thread(data_dir.rename, data_dir.with_name("moved"))

    a_week_passes(home_of(postgres))

    async with embedded_postgres(data_dir), embedded_postgres(moved) as postgres:
        assert await query(postgres, "SELECT answer FROM kept") == 42

    await remove_embedded_postgres(moved)
    await remove_embedded_postgres(data_dir)


async def test_a_copied_data_folder_never_shares_the_data_of_the_first(data_dir: Path) -> None:
    async with embedded_postgres(data_dir) as postgres:
        await query(postgres, "CREATE TABLE kept AS SELECT 42 AS answer")
    copy = data_dir.with_name("copy")
    await asyncio.to_thread(shutil.copytree, data_dir, copy, symlinks=True)

    with pytest.raises(EmbeddedPostgresError, match=f"is a copy of {data_dir}, whose PostgreSQL data stays in"):
        await _start(copy)

    await remove_embedded_postgres(copy)
    async with embedded_postgres(data_dir) as postgres:
        assert await query(postgres, "SELECT answer FROM kept") == 42


async def test_a_copy_inside_a_reachable_folder_is_a_cluster_of_its_own(reachable_data_dir: Path) -> None:
    async with embedded_postgres(reachable_data_dir) as first:
        await query(first, "CREATE TABLE kept AS SELECT 42 AS answer")
    copy = reachable_data_dir.with_name("copy")
    process = await asyncio.create_subprocess_exec("cp", "-a", str(reachable_data_dir), str(copy))
    assert await process.wait() == 0

    async with embedded_postgres(reachable_data_dir) as first, embedded_postgres(copy) as second:
        assert home_of(first) != home_of(second)
        assert await query(second, "SELECT answer FROM kept") == 42


async def test_programs_in_a_folder_the_user_cannot_enter_are_copied(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = tmp_path / "site-packages"
    await asyncio.to_thread(_copy_programs, hidden)
    monkeypatch.syspath_prepend(str(hidden))

    async with embedded_postgres(data_dir) as postgres:
        program = program_of(postgres.pid)
        assert await query(postgres, "SELECT 1") == 1

    assert program.match("/var/*/carillon/binaries-*/embedded_postgres/pginstall/bin/postgres")


def test_an_incomplete_copy_of_the_programs_is_made_again(tmp_path: Path) -> None:
    hidden, shelter = tmp_path / "site-packages", tmp_path / "shelter"
    shelter.mkdir()
    _copy_programs(hidden)
    user = ServerUser("nobody", 65534, 65534, borrowed=True)
    first = reachable_binaries(Binaries(hidden), user=user, shelter=shelter)
    first.initdb.unlink()

    second = reachable_binaries(Binaries(hidden), user=user, shelter=shelter)

    assert second == first
    assert second.initdb.is_file()
    assert [path.name for path in shelter.iterdir()] == [first.site.name]


def test_an_ordinary_user_keeps_everything_in_the_data_folder(reachable_folder: Path) -> None:
    os.chown(reachable_folder, ORDINARY, ORDINARY)
    data_dir = reachable_folder / ".carillon"

    async def visit() -> None:
        async with running_parent(data_dir, ORDINARY) as parent:
            assert owner_of_process(parent.pid) == ORDINARY
            await query(parent.dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
            await parent.kill()
        async with running_parent(data_dir, ORDINARY) as parent:
            assert await query(parent.dsn, "SELECT answer FROM kept") == 42

    asyncio.run(visit())

    assert (data_dir / "postgres" / "data" / "PG_VERSION").is_file()
    assert mode(data_dir) == 0o700


async def test_root_serves_the_data_of_an_ordinary_user_as_that_user(reachable_folder: Path) -> None:
    os.chown(reachable_folder, ORDINARY, ORDINARY)
    async with running_parent(reachable_folder / ".carillon", ORDINARY):
        pass

    async with embedded_postgres(reachable_folder / ".carillon") as postgres:
        assert owner_of_process(postgres.pid) == ORDINARY

    async with running_parent(reachable_folder / ".carillon", ORDINARY) as parent:
        assert owner_of_process(parent.pid) == ORDINARY


async def test_a_user_without_a_name_is_told_what_is_missing(reachable_folder: Path) -> None:
    os.chown(reachable_folder, NAMELESS, NAMELESS)

    process = await spawn_parent(reachable_folder / ".carillon", NAMELESS)
    message = await first_line(process)
    await process.communicate(b"")

    assert message.startswith(f"refused: user {NAMELESS} has no name on this system")


@pytest.mark.parametrize("prepared", ["nothing", "a cluster of root's"])
async def test_an_ordinary_user_is_refused_what_is_not_theirs(reachable_data_dir: Path, prepared: str) -> None:
    if prepared == "a cluster of root's":
        await _start(reachable_data_dir)

    process = await spawn_parent(reachable_data_dir, ORDINARY)
    message = await first_line(process)
    await process.communicate(b"")

    assert message.startswith(f"refused: cannot write to the data folder {reachable_data_dir}")
    assert message.endswith("make it writable or set CARILLON_DATA_DIR to another folder\n")


async def test_a_full_disk_is_named_when_the_cluster_is_made(small_disk: Path) -> None:
    _fill(small_disk, leave=10_000_000)

    with pytest.raises(EmbeddedPostgresError, match="no space left on the disk of"):
        await _start(small_disk / ".carillon")

    (small_disk / "filling").unlink()
    await _start(small_disk / ".carillon")


async def test_a_full_disk_is_named_when_the_server_starts(small_disk: Path) -> None:
    await _start(small_disk / ".carillon")
    _fill(small_disk, leave=0)

    with pytest.raises(EmbeddedPostgresError, match="no space left on the disk of"):
        await _start(small_disk / ".carillon")

    (small_disk / "filling").unlink()
    await _start(small_disk / ".carillon")


async def _start(data_dir: Path) -> None:
    async with embedded_postgres(data_dir):
        pass


def _copy_programs(destination: Path) -> None:
    site = find_binaries().site
    for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        shutil.copytree(site / name, destination / name)
    (destination / "embedded_postgres" / "__init__.py").touch()
    destination.parent.chmod(0o700)


def _fill(disk: Path, *, leave: int) -> None:
    space = os.statvfs(disk)
    with (disk / "filling").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize - leave)
