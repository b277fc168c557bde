"""`carillon simulate` as a process of its own: started, asked over its control API, killed and restarted."""

import contextlib
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.processes import end, free_port, spawn

SIMULATE = [sys.executable, "-m", "carillon", "simulate"]


@dataclass
class Simulator:
    """`ready` is the line that it printed."""

    command: list[str]
    log: Path
    ready: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        return int(self.ready["port"])

    def start(self, *, within: float = 60) -> None:
        """Start it (again) and wait for its line."""
        self.log.write_bytes(b"")
        self.process = spawn(self.command, log=self.log)
        deadline = time.monotonic() + within
        while not (line := self.log.read_text().partition("\n"))[1]:
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.log.read_text()}"
            assert time.monotonic() < deadline, f"not ready within {within} s: {self.log.read_text()}"
            time.sleep(0.02)
        self.ready = json.loads(line[0])

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """`data` of the control API's answer."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        url = f"{self.ready['control_url']}/api/v1{path}"
        request = urllib.request.Request(url, data=data, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)["data"]

    def received(self, query: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("GET", f"/received{query}")
        return found


@contextlib.contextmanager
def simulator(kind: str, *flags: str, folder: Path, port: int = 0) -> Iterator[Simulator]:
    """One simulator on ports that stay the same when it is started again; a free one where none is given."""
    ports = ["--port", str(port or free_port()), "--control-port", str(free_port())]
    made = Simulator([*SIMULATE, kind, *ports, *flags], folder / f"simulate-{kind}.log")
    made.start()
    try:
        yield made
    finally:
        end(made.process)
