"""Ends what an earlier run left behind: only processes proven to belong to this cluster, never a stranger's."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import structlog

PROGRAMS = frozenset({"postgres", "initdb"})
DELETED = " (deleted)"  # how the kernel marks the path of a removed file
POLITE_S = 3.0
POLL_S = 0.02

log = structlog.get_logger(__name__)


async def end_survivors(home: Path, *, timeout_s: float = 30.0) -> bool:
    """End every PostgreSQL process that works inside `home`; False when one is left after `timeout_s`.

    First an immediate shutdown (committed work is in the write-ahead log), after three seconds a kill.
    """
    clock = asyncio.get_running_loop().time
    began = clock()
    announced = False
    while found := await asyncio.to_thread(processes_of, home):
        if clock() - began > timeout_s:
            return False
        if not announced:
            log.warning("embedded_postgres_survivors_found", pids=found)
            announced = True
        number = signal.SIGQUIT if clock() - began < POLITE_S else signal.SIGKILL
        for pid in found:
            _signal_verified(pid, home, number)
        await asyncio.sleep(POLL_S)
    return True


def processes_of(home: Path) -> list[int]:
    """PostgreSQL processes whose working directory lies inside `home`: every process of a cluster works there."""
    try:
        numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    except OSError:
        return []
    return [pid for pid in numbers if belongs_to(pid, home)]


def belongs_to(pid: int, home: Path) -> bool:
    try:
        program = Path(f"/proc/{pid}/exe").readlink()
        folder = Path(f"/proc/{pid}/cwd").readlink()
    except OSError:  # gone, a zombie, or another user's
        return False
    if folder.name.endswith(DELETED):  # of a data folder that was removed and made anew: its owner may still live
        return False
    return program.name.removesuffix(DELETED) in PROGRAMS and folder.is_relative_to(home)


def _signal_verified(pid: int, home: Path, number: signal.Signals) -> None:
    """Hold the process by a descriptor, look at it again, then signal it: a reused pid cannot be hit."""
    with contextlib.suppress(OSError):
        descriptor = os.pidfd_open(pid)
        try:
            if belongs_to(pid, home):
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)
