"""Data folders, and parents that may be killed."""

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

import carillon
from carillon.kit.embedded_postgres import EmbeddedPostgres, embedded_postgres, remove_embedded_postgres

PROGRAM = Path(__file__).with_name("program.py")
SOURCE = Path(carillon.__file__).parents[1]
DEADLINE_S = 40

collect_ignore = [] if os.geteuid() == 0 else ["test_as_root.py"]

Query = Callable[..., Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Parent:
    """A process that runs an embedded PostgreSQL; `pid` and `dsn` are the server's."""

    process: asyncio.subprocess.Process
    pid: int
    dsn: str

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        await asyncio.wait_for(self.process.wait(), DEADLINE_S)

    async def interrupt(self) -> int:
        """Type Ctrl-C: the signal reaches the whole process group."""
        os.killpg(self.process.pid, signal.SIGINT)
        return await asyncio.wait_for(self.process.wait(), DEADLINE_S)


def spawn_parent(data_dir: Path, *uid: int) -> Awaitable[asyncio.subprocess.Process]:
    return asyncio.create_subprocess_exec(
        *(sys.executable, str(PROGRAM), str(data_dir), *map(str, uid)),
        env={**os.environ, "PYTHONPATH": f"{SOURCE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )


async def first_line(process: asyncio.subprocess.Process) -> str:
    """Skip the log lines; return the JSON or the refusal."""
    assert process.stdout is not None
    while line := await asyncio.wait_for(process.stdout.readline(), DEADLINE_S):
        if line.startswith((b"{", b"refused: ")):
            return line.decode()
    raise AssertionError("the program ended without a word")


@asynccontextmanager
async def running_parent(data_dir: Path, *uid: int) -> AsyncIterator[Parent]:
    process = await spawn_parent(data_dir, *uid)
    try:
        yield Parent(process, **json.loads(await first_line(process)))
    finally:  # the end of its input ends it in good order
        await asyncio.wait_for(process.communicate(b""), DEADLINE_S)


async def query(postgres: EmbeddedPostgres | str, statement: str, *values: object) -> object:
    """Run one statement as the superuser on a connection of its own."""
    dsn = postgres if isinstance(postgres, str) else postgres.superuser_dsn()
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        return await connection.fetchval(statement, *values, timeout=10)
    finally:
        await connection.close(timeout=10)


def alive(pid: int) -> bool:
    """Whether a process of this number exists; one that ended counts as gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
async def data_dir(tmp_path: Path) -> AsyncIterator[Path]:
    """Give a data folder that does not exist yet; as root the server's user cannot reach it."""
    folder = tmp_path / ".carillon"
    yield folder
    for used in await asyncio.to_thread(os.listdir, tmp_path):
        await remove_embedded_postgres(tmp_path / used)


@pytest.fixture
def reachable_folder() -> Iterator[Path]:
    """Give a folder that every user can enter."""
    folder = Path(tempfile.mkdtemp(prefix="carillon-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedPostgres]:
    """Run one server for the tests of a module that only look at it."""
    folder = tmp_path_factory.mktemp("shared")
    async with embedded_postgres(folder) as running:
        yield running
    await remove_embedded_postgres(folder)


@pytest.fixture
async def postgres(data_dir: Path) -> AsyncIterator[EmbeddedPostgres]:
    async with embedded_postgres(data_dir) as running:
        yield running
