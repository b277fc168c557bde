"""Starts and stops the server process: ready means it accepts connections, stopped means it wrote everything."""

import asyncio
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import structlog

from carillon.kit.embedded_postgres.binaries import Binaries
from carillon.kit.embedded_postgres.errors import (
    EmbeddedPostgresError,
    PortTakenError,
    SurvivorsError,
    explain_output,
    explained,
)
from carillon.kit.embedded_postgres.folder import DataFolder
from carillon.kit.embedded_postgres.identity import ServerUser
from carillon.kit.embedded_postgres.process import Child, start_child

HOST = "127.0.0.1"
START_TIMEOUT_S = 120.0
FAST_STOP_S = 10.0
IMMEDIATE_STOP_S = 5.0
POLL_S = 0.01
STATUS_LINE = 7
SETTINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "fsync": "on",
        "synchronous_commit": "on",
        "max_connections": "200",
        "password_encryption": "scram-sha-256",
        # Memory: one small machine carries the whole platform.
        "shared_buffers": "64MB",
        "io_method": "sync",
        "jit": "off",
        "max_parallel_workers_per_gather": "0",
        "max_logical_replication_workers": "0",
        # Nobody replicates from here.
        "max_wal_senders": "0",
        "wal_level": "minimal",
        # The log: no addresses from error details, the same clock everywhere.
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_error_verbosity": "terse",
        "log_line_prefix": "%m [%p] ",
        "log_checkpoints": "off",
    }
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """Everything about the server that stays the same from one start of the process to the next."""

    folder: DataFolder
    home: Path
    user: ServerUser
    binaries: Binaries
    settings: Mapping[str, str]

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def pid_file(self) -> Path:
        return self.data / "postmaster.pid"

    def command(self, *, port: int, socket_dir: Path) -> list[str | Path]:
        fixed = {"listen_addresses": HOST, "port": str(port), "unix_socket_directories": str(socket_dir)}
        settings = {**SETTINGS, **self.settings, **fixed, "logging_collector": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [self.binaries.postgres, "-D", self.data, *options]


async def start_postmaster(installation: Installation, *, port: int, socket_dir: Path) -> Child:
    """Start the server and return once it accepts connections.

    Raises PortTakenError or SurvivorsError when another try can succeed, EmbeddedPostgresError otherwise.
    """
    folder = installation.folder
    with explained(folder.path), folder.log.open("ab") as output:
        begin = output.tell()
        child = start_child(
            installation.command(port=port, socket_dir=socket_dir),
            user=installation.user,
            folder=installation.home,
            output=output,
            death_signal=signal.SIGQUIT,
        )
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while not _is_ready(installation.pid_file, child.pid):
                if await child.exited_within(POLL_S):
                    raise _why_it_ended(installation, begin)
    except TimeoutError:
        await stop_postmaster(child, fast_s=0)
        raise explain_output(
            f"PostgreSQL was not ready within {START_TIMEOUT_S:.0f} s",
            _log_since(folder.log, begin),
            folder=installation.home,
            log=folder.log,
        ) from None
    except asyncio.CancelledError:
        await stop_postmaster(child, fast_s=0)
        raise
    return child


async def stop_postmaster(child: Child, *, fast_s: float = FAST_STOP_S) -> None:
    """Fast shutdown, then an immediate one, then a kill: each only when the one before took too long."""
    for number, patience_s in ((signal.SIGINT, fast_s), (signal.SIGQUIT, IMMEDIATE_STOP_S)):
        if patience_s <= 0:
            continue
        child.send(number)
        if await child.exited_within(patience_s):
            return
        log.warning("embedded_postgres_stop_is_slow", signal=number.name, waited_s=patience_s)
    child.send(signal.SIGKILL)
    await child.wait()


def _is_ready(pid_file: Path, pid: int) -> bool:
    try:
        lines = pid_file.read_text().splitlines()
    except OSError:
        return False
    return len(lines) > STATUS_LINE and lines[0] == str(pid) and lines[STATUS_LINE].strip() == "ready"


def _why_it_ended(installation: Installation, begin: int) -> Exception:
    output = _log_since(installation.folder.log, begin)
    if "could not create any TCP/IP sockets" in output or "Address already in use" in output:
        return PortTakenError()
    if "pre-existing shared memory block" in output or 'lock file "postmaster.pid" already exists' in output:
        return SurvivorsError()
    if "could not create any Unix-domain sockets" in output:
        return EmbeddedPostgresError(
            "PostgreSQL cannot create its socket in the folder for temporary files; set TMPDIR"
        )
    return explain_output("PostgreSQL did not start", output, folder=installation.home, log=installation.folder.log)


def _log_since(path: Path, begin: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(begin)
            return file.read().decode(errors="replace")
    except OSError:
        return ""
