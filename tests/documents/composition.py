"""What `deploy/compose.yaml` says, with its variables filled in as `deploy/.env.example` asks."""

import re
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from tests.documents.reading import ROOT

FOLDER = ROOT / "deploy"
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


def environment(said: dict[str, Any]) -> dict[str, str]:
    """A service's environment, with what a person fills in standing in for what the example leaves empty."""
    filled = {name: value or _stand_in(name) for name, value in example().items()}

    def value(found: re.Match[str]) -> str:
        return filled.get(found["name"]) or (found["text"] or "" if found["kind"] == "-" else "")

    return {name: _VARIABLE.sub(value, str(text)) for name, text in said.get("environment", {}).items()}


def _stand_in(name: str) -> str:
    typed = {"SMTP_URL": "smtp://user:secret@mail.example.com:587?tls=starttls", "MAIL_FROM": "Ada <ada@example.com>"}
    return typed.get(name, "0123456789abcdef")


def mounted_files(said: dict[str, Any]) -> list[Path]:
    """The files of the repository that a service mounts."""
    return [FOLDER / volume.split(":")[0] for volume in said.get("volumes", []) if volume.startswith(".")]


def named_volumes(said: dict[str, Any]) -> set[str]:
    return {name for volume in said.get("volumes", []) if (name := volume.split(":")[0])[0] not in "./"}
