"""Programs out of the locked libraries that judge a file, and copies for them to refuse."""

import os
import subprocess
import sys
from pathlib import Path

from tests.documents.reading import ROOT

_PROGRAMS = Path(sys.executable).parent


def judged(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    surroundings = {**os.environ, "PATH": f"{_PROGRAMS}:{os.environ['PATH']}"}
    return subprocess.run(
        [str(_PROGRAMS / program), *map(str, arguments)],
        cwd=ROOT,
        env=surroundings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )


def broken(folder: Path, source: Path, old: str, new: str) -> Path:
    text = source.read_text()
    assert old in text, f"{source.name} has no {old!r}"
    copy = folder / source.name
    copy.write_text(text.replace(old, new))
    return copy
