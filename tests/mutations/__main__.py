"""`make mutations`: takes one guarantee at a time out of a copy of the code; the test that is named has to fail.

Names of mutations, or parts of them, choose some. All of them write docs/reference/mutations.md.
"""

import argparse
import compileall
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from tests.mutations.catalogue import ROOT, Mutation, mutated, mutations, stale
from tests.mutations.table import TABLE, table

_COPIED = ("src", "tests", "benchmarks", "pyproject.toml")
_WITHOUT_PLUGINS = ("-p", "no:cacheprovider")
_LONGEST = 300


@dataclass(frozen=True, slots=True)
class Verdict:
    """`words`: the last of what the test said."""

    mutation: Mutation
    caught: bool
    seconds: float
    words: str


def main() -> int:
    """The exit code is 1 where a mutation survived, or a test fails without any."""
    asked = _arguments()
    chosen = [m for m in mutations() if not asked.names or any(part in m.name for part in asked.names)]
    if broken := [sentence for mutation in chosen for sentence in stale(mutation)]:
        _say("\n".join(broken))
        return 1
    with _copies(asked.jobs) as copies:
        if (failed := _unmutated(chosen, copies)) is not None:
            _say(f"Without any mutation:\n{failed}")
            return 1
        survived = [verdict for verdict in _judged(chosen, copies) if not verdict.caught]
    _say(f"{len(chosen) - len(survived)} of {len(chosen)} mutations were caught")
    for verdict in survived:
        _say(f"\n{verdict.mutation.name} SURVIVED {verdict.mutation.test}:\n{verdict.words}")
    if not survived and not asked.names:
        TABLE.write_text(table(chosen))
    return 1 if survived else 0


def _arguments() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    arguments.add_argument("names", nargs="*", help="mutations whose names hold one of these; all where none is given")
    arguments.add_argument("--jobs", type=int, default=2, help="so many at a time, each with a copy of its own")
    return arguments.parse_args()


@contextmanager
def _copies(count: int) -> Iterator["SimpleQueue[Path]"]:
    """So many copies of the code and its tests, to be borrowed."""
    with tempfile.TemporaryDirectory(prefix="carillon-mutations-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        free: SimpleQueue[Path] = SimpleQueue()
        for number in range(count):
            copy = folder / str(number)
            copy.mkdir()
            for part in _COPIED:
                source = ROOT / part
                if source.is_dir():
                    shutil.copytree(source, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(source, copy / part)
            compileall.compile_dir(copy / "src", quiet=1, workers=0)
            free.put(copy)
        yield free


def _unmutated(chosen: Sequence[Mutation], copies: "SimpleQueue[Path]") -> str | None:
    """What fails in the code as it is; None where nothing does."""
    copy = copies.get()
    try:
        ended = _pytest(copy, sorted({mutation.test for mutation in chosen}), within=_LONGEST * 4)
    finally:
        copies.put(copy)
    return None if ended.returncode == 0 else ended.stdout[-6000:]


def _judged(chosen: Sequence[Mutation], copies: "SimpleQueue[Path]") -> list[Verdict]:
    with ThreadPoolExecutor(max_workers=copies.qsize()) as threads:
        return list(threads.map(lambda mutation: _judge(mutation, copies), chosen))


def _judge(mutation: Mutation, copies: "SimpleQueue[Path]") -> Verdict:
    copy, began = copies.get(), time.monotonic()
    texts = mutated(mutation, copy)
    kept = {path: (path.read_text(), (path.stat().st_atime_ns, path.stat().st_mtime_ns)) for path in texts}
    try:
        for path, text in texts.items():
            path.write_text(text)
        ended = _pytest(copy, [mutation.test], within=_LONGEST)
    finally:
        for path, (text, times) in kept.items():
            path.write_text(text)
            os.utime(path, ns=times)  # what was compiled of it is right again
        copies.put(copy)
    caught = ended.returncode == 1 and f"\nFAILED {mutation.test}" in ended.stdout
    verdict = Verdict(mutation, caught, time.monotonic() - began, ended.stdout[-3000:] + ended.stderr[-1000:])
    _say(f"{'caught  ' if caught else 'SURVIVED'} {verdict.seconds:5.1f} s  {mutation.name}")
    return verdict


def _pytest(copy: Path, tests: Sequence[str], *, within: float) -> subprocess.CompletedProcess[str]:
    """The tests of a copy on the code of that copy: it stands before the installed one."""
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-m", "pytest", "-q", "-rf", "--tb=short", *_WITHOUT_PLUGINS, *tests]
    return subprocess.run(
        command, cwd=copy, env=environment, check=False, capture_output=True, text=True, timeout=within
    )


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
