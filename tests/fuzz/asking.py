"""Asking a running Carillon by its own OpenAPI document, as schemathesis does it."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CONFIGURATION = Path(__file__).parent / "schemathesis.toml"
ALIASES = ("POST /api/v1/users/register", "POST /api/v1/auth/register", "POST /api/v1/users/login")
NAMING = ("POST /api/v1/users", "POST /api/v1/contacts", "PATCH /api/v1/users/{user_id}")


def ask(
    address: str,
    folder: Path,
    *,
    token: str = "",
    phases: str = "examples,coverage,fuzzing,stateful",
    examples: int = 20,
    only: Sequence[str] = (),
    without: Sequence[str] = (),
    seconds: int = 0,
) -> str:
    """Ask every operation of `address`/openapi.json; fails with the whole report when an answer is not as documented.

    `only` and `without` name operations, `seconds` is how long to go on finding new questions. Returns the report.
    """
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION), "run"]
    command += [f"{address}/openapi.json", "--phases", phases, "--max-examples", str(examples), "--warnings", "off"]
    command += ["--header", f"Authorization: Bearer {token}"] if token else []
    command += [part for name in only for part in ("--include-name", name)]
    command += [part for name in without for part in ("--exclude-name", name)]
    command += ["--max-time", str(seconds)] if seconds else []
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=seconds * 2 + 400)
    report = done.stdout + done.stderr
    assert done.returncode == 0, report
    assert "No issues found" in report, report
    return report
