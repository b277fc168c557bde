"""Asking a running Carillon by its own OpenAPI document, as schemathesis does it."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIGURATION = Path(__file__).parent / "schemathesis.toml"
HOOKS = Path(__file__).parent / "hooks.py"
ALIASES = ("POST /api/v1/users/register", "POST /api/v1/auth/register", "POST /api/v1/users/login")
NAMING = ("POST /api/v1/users", "POST /api/v1/contacts", "PATCH /api/v1/users/{user_id}")


@dataclass(frozen=True, slots=True)
class Asker:
    """A signed-in user, whose token has to work to the end, and the account that is changed in their stead."""

    token: str
    user_id: str
    stand_in: str


def ask_as(asker: Asker, address: str, folder: Path, *, users: str, **how: Any) -> str:
    """Ask as `ask` does; who is no longer signed in at the end has asked nothing, which nobody would have noticed."""
    report = ask(address, folder, token=asker.token, asker=asker, **how)
    request = urllib.request.Request(f"{users}/api/v1/users/me", headers={"Authorization": f"Bearer {asker.token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.load(answer)["data"]["user_id"] == asker.user_id
    return report


def ask(
    address: str,
    folder: Path,
    *,
    token: str = "",
    asker: Asker | None = None,
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
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": str(HOOKS)}
    environment |= {"ASKER": asker.user_id, "STAND_IN": asker.stand_in} if asker else {}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds * 2 + 400
    )
    report = done.stdout + done.stderr
    assert done.returncode == 0, report
    assert "No issues found" in report, report
    return report
