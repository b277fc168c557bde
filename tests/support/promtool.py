"""Prometheus' own judge of rules and expressions; the server beside it in Debian's package is never started."""

import subprocess
from pathlib import Path

from tests.support.packages import package

_PROGRAM = "usr/bin/promtool"


def promtool(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    found = package("prometheus", marker=_PROGRAM)
    return subprocess.run(
        [str(found.path(_PROGRAM)), *arguments],
        cwd=folder,
        env=found.environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
    )
