"""A real Redis for the suite, without persistence, on a free port of 127.0.0.1."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.packages import Installation, package
from tests.support.processes import end, free_port, spawn

BOOT_SECONDS = 20


class RedisServer:
    """One server on one port for its whole life, to be killed and started again at will; it remembers nothing."""

    def __init__(self, folder: Path, installation: Installation) -> None:
        self.folder = folder
        self.port = free_port()
        self._installation = installation
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        program = shutil.which("redis-server") or str(self._installation.path("usr/bin/redis-server"))
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        self._process = spawn(
            [program, *options], log=self.folder / "log", cwd=self.folder, env=self._installation.environment()
        )
        deadline = time.monotonic() + BOOT_SECONDS
        while "Ready to accept connections" not in (self.folder / "log").read_text().rpartition("starting")[2]:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"Redis did not start: {(self.folder / 'log').read_text()[-800:]}")
            time.sleep(0.01)

    def stop(self) -> None:
        end(self._process)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)

    def restart(self) -> None:
        self.stop()
        self.start()


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """Run a Redis of our own, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="carillon-redis-"))
    server = RedisServer(folder, package("redis-server", marker="usr/bin/redis-server"))
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
