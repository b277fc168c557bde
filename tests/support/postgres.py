"""A real PostgreSQL for the suite: one cluster a session, a fresh database a test.

Made by the embedded PostgreSQL's own parts, but without its supervisor: here tests decide when the server dies.
"""

import asyncio
import contextlib
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from carillon.kit.embedded_postgres import remove_embedded_postgres
from carillon.kit.embedded_postgres.cluster import SUPERUSER, ensure_cluster
from carillon.kit.embedded_postgres.folder import claimed
from carillon.kit.embedded_postgres.installation import Installation, install
from carillon.kit.embedded_postgres.ports import HOST, socket_folder
from carillon.kit.embedded_postgres.survivors import end_survivors
from tests.support.processes import dies_with_parent, end, free_port, spawn

T = TypeVar("T")

BOOT_SECONDS = 40
SETTINGS = {"fsync": "off"}  # a killed process loses nothing to the page cache; only a power cut would


class PostgresServer:
    """One cluster on one port for its whole life, to be killed and started again at will."""

    user = SUPERUSER

    def __init__(self, installation: Installation, socket_dir: Path, disk: Path | None = None) -> None:
        self.disk = disk
        self.port = free_port()
        self.password = installation.folder.identity().superuser_password
        self._installation = installation
        self._socket_dir = socket_dir
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, or start again on the same port and data; returns when it accepts connections."""
        _run(end_survivors(self._installation.home))
        user = self._installation.user
        borrowed = (user.uid, user.gid) if user.borrowed else (0, 0)
        self._process = spawn(
            [str(part) for part in self._installation.command(port=self.port, socket_dir=self._socket_dir)],
            log=self._installation.folder.log,
            cwd=self._installation.home,
            prepare=dies_with_parent(uid=borrowed[0], gid=borrowed[1], sign=signal.SIGQUIT),
        )
        _run(self._until_ready())

    def start_if_ended(self) -> None:
        """Whether it has ended by itself or not, it runs afterwards."""
        with contextlib.suppress(AssertionError):  # it was about to end
            if self.pid is not None:
                _run(self._until_ready())
                return
        self.start()

    def stop(self) -> None:
        end(self._process, sign=signal.SIGINT)

    def kill(self) -> None:
        """Kill the postmaster with -9; its backends end by themselves, `start` ends those that do not."""
        end(self._process, sign=signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    @property
    def pid(self) -> int | None:
        """The postmaster's, while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def dsn(self, database: str = "postgres", *, user: str | None = None, password: str | None = None) -> str:
        return f"postgresql://{user or self.user}:{password or self.password}@{HOST}:{self.port}/{database}"

    async def create_database(self, *, copy_of: str | None = None) -> str:
        """Make a fresh database, empty or a copy of that of a DSN, and return its DSN.

        Files are copied whole: without fsync that takes 60 ms of a core, by the write-ahead log 130.
        """
        name = f"test_{secrets.token_hex(6)}"
        template = copy_of.rpartition("/")[2] if copy_of else "template1"
        await self._administrate(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
        return self.dsn(name)

    async def drop_database(self, dsn: str) -> None:
        await self._administrate(f'DROP DATABASE IF EXISTS "{dsn.rpartition("/")[2]}" WITH (FORCE)')

    @asynccontextmanager
    async def database(self, *, copy_of: str | None = None) -> AsyncIterator[str]:
        """A database for as long as a test; its DSN."""
        dsn = await self.create_database(copy_of=copy_of)
        yield dsn
        await self.drop_database(dsn)

    @contextmanager
    def pattern(self, prepare: Callable[[str], Awaitable[object]]) -> Iterator[str]:
        """A database to be copied, with what `prepare` puts into it: a copy costs a twentieth of migrating."""

        async def made() -> str:
            dsn = await self.create_database()
            await prepare(dsn)
            return dsn

        dsn = _run(made())
        yield dsn
        _run(self.drop_database(dsn))

    async def _administrate(self, statement: str) -> None:
        connection = await asyncpg.connect(self.dsn(), timeout=10)
        try:
            await connection.execute(statement, timeout=30)
        finally:
            await connection.close(timeout=5)

    async def _until_ready(self) -> None:
        deadline = time.monotonic() + BOOT_SECONDS
        while True:
            try:
                await (await asyncpg.connect(self.dsn(), timeout=10)).close(timeout=5)
            except (OSError, TimeoutError, asyncpg.PostgresError) as error:
                assert self._process is not None
                if self._process.poll() is not None or time.monotonic() > deadline:
                    log = self._installation.folder.log.read_text()[-800:]
                    raise AssertionError(f"PostgreSQL did not start: {log}") from error
                await asyncio.sleep(0.02)
            else:
                return


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run on a loop of its own, also where a test's loop is already running."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, work).result()


@contextmanager
def postgres_server(*, settings: Mapping[str, str] = SETTINGS, disk: Path | None = None) -> Iterator[PostgresServer]:
    """Run a PostgreSQL of our own, on this file system if one is given; gone with its data afterwards."""
    path = Path(tempfile.mkdtemp(prefix="carillon-postgres-", dir=disk))
    if disk is not None:
        path.chmod(0o755)  # whom root lends it to would have its data elsewhere
    try:
        with claimed(path) as folder:
            installation = install(folder, settings)
            _run(ensure_cluster(installation))
            with socket_folder(folder, installation.user) as socket_dir:
                server = PostgresServer(installation, socket_dir, disk)
                try:
                    server.start()
                    yield server
                finally:
                    server.stop()
        _run(remove_embedded_postgres(path))
    finally:
        shutil.rmtree(path, ignore_errors=True)
