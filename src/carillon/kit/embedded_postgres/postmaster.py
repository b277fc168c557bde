"""Starts and stops the server process: ready means it accepts connections, stopped means it wrote everything."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import structlog

from carillon.kit.embedded_postgres.errors import PortTakenError, SurvivorsError, explain_output, explained
from carillon.kit.embedded_postgres.installation import Installation
from carillon.kit.embedded_postgres.process import Child, start_child

START_TIMEOUT_S = 120.0
FAST_STOP_S = 10.0
IMMEDIATE_STOP_S = 5.0
POLL_S = 0.01
STATUS_LINE = 7

log = structlog.get_logger(__name__)


async def start_postmaster(installation: Installation, *, port: int, socket_dir: Path) -> Child:
    """Start the server and return once it accepts connections.

    Raises PortTakenError or SurvivorsError when another try can succeed, EmbeddedPostgresError otherwise.
    """
    folder = installation.folder
    with explained(folder.path), folder.open_log() as output:
        begin = os.fstat(output.fileno()).st_size
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
        what = f"PostgreSQL was not ready within {START_TIMEOUT_S:.0f} s"
        raise explain_output(what, _log_since(folder.log, begin), folder=installation.home, log=folder.log) from None
    except asyncio.CancelledError:
        await stop_postmaster(child, fast_s=0)
        raise
    return child


async def stop_postmaster(child: Child, *, fast_s: float = FAST_STOP_S) -> None:
    """Fast shutdown, then an immediate one, then a kill: each only when the one before took too long.

    A cancellation in the meantime hurries it up and is raised once the server has ended: nothing is left behind.
    """
    stopping = asyncio.create_task(_stop(child, fast_s))
    cancelled: asyncio.CancelledError | None = None
    while not stopping.done():
        try:
            await asyncio.wait([stopping])
        except asyncio.CancelledError as error:
            child.send(signal.SIGQUIT)
            cancelled = error
    stopping.result()
    if cancelled is not None:
        raise cancelled


def forget_former_server(installation: Installation) -> None:
    """Remove a pid file whose number another program got since; call it when no process of the cluster is left.

    PostgreSQL would take that program for a running server and refuse to start.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        former = int(installation.pid_file.read_text().split()[0])
        os.kill(former, 0)
        installation.pid_file.unlink()


async def _stop(child: Child, fast_s: float) -> None:
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
    return explain_output("PostgreSQL did not start", output, folder=installation.home, log=installation.folder.log)


def _log_since(path: Path, begin: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(begin)
            return file.read().decode(errors="replace")
    except OSError:
        return ""
