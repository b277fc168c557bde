"""Child processes that die with us: own session, unprivileged, and a death signal for the case that we are killed."""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from carillon.kit.embedded_postgres.errors import EmbeddedPostgresError
from carillon.kit.embedded_postgres.identity import ServerUser

PR_SET_PDEATHSIG = 1
EXIT_ORPHANED = 111
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


class Child:
    """A running child; a thread of its own waits for it, so that any event loop can."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self._loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[int] = self._loop.create_future()
        threading.Thread(target=self._reap, name=f"wait-{popen.pid}", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def running(self) -> bool:
        return not self._exit.done()

    async def wait(self) -> int:
        """Return the exit code, negative for a signal; cancelling the wait leaves the child alone."""
        return await asyncio.shield(self._exit)

    async def exited_within(self, seconds: float) -> bool:
        await asyncio.wait([self._exit], timeout=seconds)
        return self._exit.done()

    def send(self, number: signal.Signals) -> None:
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                self._popen.send_signal(number)

    def send_session(self, number: signal.Signals) -> None:
        """Signal the child and everything it started in its session."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._popen.pid, number)

    def _reap(self) -> None:
        code = self._popen.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._settle, code)

    def _settle(self, code: int) -> None:
        if not self._exit.done():
            self._exit.set_result(code)


def start_child(
    command: Sequence[str | Path],
    *,
    user: ServerUser,
    folder: Path,
    output: IO[bytes],
    death_signal: signal.Signals,
    script: IO[bytes] | None = None,
) -> Child:
    """Start `command` in `folder`, with `script` as its input; it gets `death_signal` when this thread dies.

    The kernel ties the death signal to the thread that forks: call this from the thread of the event loop,
    never from a worker thread.
    """
    try:
        popen = subprocess.Popen(  # noqa: S603 -- our own programs, no shell
            [str(part) for part in command],
            cwd=folder,
            env=ENVIRONMENT,
            stdin=script or subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user.uid if user.borrowed else None,
            group=user.gid if user.borrowed else None,
            extra_groups=[] if user.borrowed else None,
            preexec_fn=_dying_with_us(death_signal),  # noqa: PLW1509 -- two system calls, bound before the fork
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EmbeddedPostgresError(
            f"cannot start {command[0]} as user {user.name} ({error}); start Carillon as an ordinary user"
        ) from error
    return Child(popen)


def _dying_with_us(death_signal: signal.Signals) -> Callable[[], None]:
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def in_child() -> None:
        # Runs after the change of user, which would clear the setting; we may have died before it took hold.
        if prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0 or os.getppid() != parent:
            os._exit(EXIT_ORPHANED)

    return in_child
