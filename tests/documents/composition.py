"""What `deploy/compose.yaml` says, with its variables filled in as `deploy/.env.example` asks."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from tests.documents.reading import ROOT

FOLDER = ROOT / "deploy"
SECRETS = "/run/secrets"
_VARIABLE = re.compile(r"\$\{(?P<name>[A-Z_]+)(?::(?P<kind>[-?])(?P<text>[^}]*))?\}")


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    return loaded


def ours() -> dict[str, dict[str, Any]]:
    """The services that run Carillon, by their names in the file."""
    return {name: said for name, said in compose()["services"].items() if "CARILLON_IMAGE" in said["image"]}


def asked_for() -> set[str]:
    """The variables that the file takes from its surroundings."""
    return {found["name"] for found in _VARIABLE.finditer((FOLDER / "compose.yaml").read_text())}


def example() -> dict[str, str]:
    lines = (FOLDER / ".env.example").read_text().splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def environment(said: dict[str, Any], secrets: str = SECRETS) -> dict[str, str]:
    """A service's environment; `secrets` is the folder of the files that are handed out, as seen from the service."""
    filled = example()

    def value(found: re.Match[str]) -> str:
        return filled.get(found["name"]) or (found["text"] or "" if found["kind"] == "-" else "")

    texts = {name: _VARIABLE.sub(value, str(text)) for name, text in said.get("environment", {}).items()}
    return {name: text.replace(SECRETS, secrets) for name, text in texts.items()}


def secrets_of(said: dict[str, Any]) -> dict[str, str]:
    """Which secret is mounted where."""
    given = [each if isinstance(each, dict) else {"source": each} for each in said.get("secrets", [])]
    return {each["source"]: each.get("target", f"{SECRETS}/{each['source']}") for each in given}


def make_secrets(folder: Path) -> Path:
    """Where `make-secrets.sh` puts them, run beside nothing else."""
    script = folder / "make-secrets.sh"
    script.write_bytes((FOLDER / script.name).read_bytes())
    subprocess.run(["sh", script], env={"PATH": os.environ["PATH"]}, check=True, timeout=30)
    return folder / "secrets"


def mounted_files(said: dict[str, Any]) -> list[Path]:
    """The files of the repository that a service mounts."""
    return [FOLDER / volume.split(":")[0] for volume in said.get("volumes", []) if volume.startswith(".")]


def named_volumes(said: dict[str, Any]) -> set[str]:
    return {name for volume in said.get("volumes", []) if (name := volume.split(":")[0])[0] not in "./"}
