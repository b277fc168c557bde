"""Own child processes: they die with the test run, also when it is killed, and are ended by pid, never by name."""

import ctypes
import fcntl
import functools
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from carillon.kit.embedded_postgres import ports

__all__ = ["dies_with_parent", "end", "free_port", "spawn"]

PR_SET_PDEATHSIG = 1
_PORTS = Path(tempfile.gettempdir()) / f"carillon-test-ports-{os.getuid()}"
_TRIES = 200
_reserved: list[int] = []
_libc = ctypes.CDLL(None, use_errno=True)


def dies_with_parent(*, uid: int = 0, gid: int = 0, sign: signal.Signals = signal.SIGKILL) -> Callable[[], None]:
    """Return what a child runs before exec: drop privileges when asked, then tie its life to ours."""
    parent = os.getpid()

    def prepare() -> None:
        os.setsid()
        if uid:
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
        _libc.prctl(PR_SET_PDEATHSIG, int(sign))
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def free_port() -> int:
    """Choose a port that nobody listens on, and that no other test run has been given: between the choice and the first
    connection seconds may pass, and a server that is killed comes back to its own. Ours until this process ends."""
    _PORTS.mkdir(exist_ok=True)
    for _ in range(_TRIES):
        port = ports.free_port()
        reservation = os.open(_PORTS / str(port), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(reservation, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(reservation)
        else:
            _reserved.append(reservation)
            return port
    raise AssertionError(f"of {_TRIES} ports every one is taken")


def spawn(
    command: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    prepare: Callable[[], None] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a child of ours, its output appended to `log`; may be called from any thread."""

    def start() -> subprocess.Popen[bytes]:
        with log.open("ab") as out:
            return subprocess.Popen(
                command,
                env=env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                preexec_fn=prepare or dies_with_parent(),  # noqa: PLW1509 - the only way to tie a child's life to ours
            )

    return _spawning_thread().submit(start).result()


@functools.cache
def _spawning_thread() -> ThreadPoolExecutor:
    """Keep one thread for the whole run: "the parent died" means the thread that started the child, not the process."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawn")


def end(
    process: subprocess.Popen[bytes] | subprocess.Popen[str] | None,
    *,
    sign: signal.Signals = signal.SIGTERM,
    within: float = 20,
) -> None:
    """Stop a child of ours: the polite signal first, SIGKILL when it does not listen."""
    if process is None or process.poll() is not None:
        return
    process.send_signal(sign)
    try:
        process.wait(within)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(within)
