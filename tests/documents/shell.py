"""The shell blocks of one document as one session: in a folder like a checkout, with ports of its own."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.documents.reading import ROOT, Block
from tests.support.platform import clean_environment
from tests.support.processes import free_port

SHELLS = ("sh", "bash", "console")
_LASTING = re.compile(r"(?:[A-Z_]+=\S+ +)*(?:\S*/)?(?:carillon (?P<what>up|simulate \w+ --port \d+)|make up)\b")
_READY = {"up": "Carillon is up", "simulate": "control_url"}
_PORTS = re.compile(r"\b(?:800[0-9]|26\d\d|27\d\d)\b(?![.\-\w])")
_PRELUDE = r"""
set -euo pipefail
declare -A started=()
lasting() {  # what it is, its log, what it says when it is ready, its command: in place of the one that ran before
  local what=$1 log=$2 ready=$3; shift 3
  if [ -n "${started[$what]:-}" ]; then kill -TERM "${started[$what]}"; wait "${started[$what]}" || true; fi
  (exec env "$@") > "$log" 2>&1 &
  started[$what]=$!
  for _ in $(seq 600); do
    if grep -qs "$ready" "$log"; then return; fi
    if ! kill -0 $! 2>/dev/null; then break; fi
    sleep 0.1
  done
  cat "$log"; return 1
}
"""
# Commands that ask a Carillon ask the one of this session; a refusal by HTTP is a failure of the document.
_CARILLON = """#!/bin/sh
case "$*" in
  *--url*) exec {python} -m carillon "$@" ;;
  send*|demo*) exec {python} -m carillon "$@" --url http://127.0.0.1:{port} ;;
  *) exec {python} -m carillon "$@" ;;
esac
"""
_CURL = '#!/bin/sh\nexec {curl} --fail-with-body "$@"\n'


@dataclass
class Checkout:
    """A folder that looks like a clone in which `make` has installed everything, and is nobody else's."""

    folder: Path
    ports: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("Makefile", "pyproject.toml", "requirements", "src", "deploy", "docs"):
            (self.folder / name).symlink_to(ROOT / name)
        programs = self.folder / ".venv/bin"
        programs.mkdir(parents=True)
        curl = subprocess.run(["which", "curl"], check=True, capture_output=True, text=True).stdout.strip()
        _program(programs / "carillon", _CARILLON.format(python=shlex.quote(sys.executable), port=self.port("8000")))
        _program(programs / "curl", _CURL.format(curl=curl))
        (programs / "python").symlink_to(sys.executable)
        for stamp in (".uv", ".runtime", ".development"):
            (self.folder / ".venv" / stamp).touch()

    def port(self, named: str) -> int:
        """The port that stands for one that the documents name."""
        return self.ports.setdefault(named, free_port())

    def run(self, blocks: Iterable[Block], replaced: Mapping[str, str], *, within: float) -> None:
        """Run them one after the other in one shell; raises AssertionError with what was said when one fails.

        What goes on running (`make up`) does so in the background until the session ends.
        """
        script = "\n".join([_PRELUDE, *(self._part(block, replaced) for block in blocks)])
        (self.folder / "session.sh").write_text(script)
        with (self.folder / "session.log").open("w") as log:
            process = subprocess.Popen(
                ["bash", "session.sh"],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(timeout=within)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _end(process)
        assert code == 0, f"exit code {code} (None: not done in {within} s)\n{self._said()}"

    def _said(self) -> str:
        return "\n".join(log.read_text(errors="replace")[-4000:] for log in sorted(self.folder.glob("*.log")))

    def _environment(self) -> dict[str, str]:
        found = clean_environment(PORT=str(self.port("8000")), CARILLON_PORT=str(self.port("8000")))
        return {**found, "PATH": f"{self.folder / '.venv/bin'}:{os.environ['PATH']}"}

    def _part(self, block: Block, replaced: Mapping[str, str]) -> str:
        text = block.text
        for said, meant in replaced.items():
            text = text.replace(said, meant)
        text = _PORTS.sub(lambda found: str(self.port(found[0])), text).rstrip()
        lasting = _LASTING.match(text)
        if lasting is None:
            return f"echo '--- line {block.line}'\n{text}"
        what = lasting["what"] or "up"
        return f"lasting '{what}' lasting-{block.line}.log '{_READY[what.split()[0]]}' {text}"


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ask everything that the session began to end, and insist where it does not."""
    for sign, within in ((signal.SIGTERM, 40), (signal.SIGKILL, 10)):
        deadline = time.monotonic() + within
        there = _signal(process, sign)
        while there and time.monotonic() < deadline:
            time.sleep(0.05)
            there = _signal(process, 0)
        if not there:
            return
    raise AssertionError(f"something of the session of {process.pid} does not end")


def _signal(process: "subprocess.Popen[bytes]", sign: int) -> bool:
    """Whether anything of the session is left to have it."""
    process.poll()
    try:
        os.killpg(process.pid, sign)
    except ProcessLookupError:
        return False
    return True
