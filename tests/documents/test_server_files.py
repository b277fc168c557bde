"""What runs Carillon on a server passes the judges of its kind; copies broken on purpose do not."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.documents.judges import broken, judged
from tests.documents.reading import ROOT
from tests.support.promtool import promtool

DEPLOY = ROOT / "deploy"


def compose_says(path: Path) -> subprocess.CompletedProcess[str]:
    return judged("check-jsonschema", "--builtin-schema", "vendor.compose-spec", path)


def linter_says(path: Path) -> subprocess.CompletedProcess[str]:
    return judged("hadolint", "--no-color", path)


def test_compose_is_one_by_its_schema() -> None:
    done = compose_says(DEPLOY / "compose.yaml")

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    profiles: [push]", "    profile: [push]"),
        ("condition: service_healthy", "condition: healthy"),
        ("stop_grace_period: 40s", "stop_grace_period: [40]"),
    ],
)
def test_a_compose_file_broken_on_purpose_is_told(tmp_path: Path, old: str, new: str) -> None:
    assert compose_says(broken(tmp_path, DEPLOY / "compose.yaml", old, new)).returncode != 0


def test_the_dockerfile_passes_its_linter() -> None:
    done = linter_says(DEPLOY / "Dockerfile")

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("old", "new"), [("FROM python:3.11-slim AS", "FROM python AS"), ("USER 10001", "USER root"), ("RUN", "RUNS")]
)
def test_a_dockerfile_broken_on_purpose_is_told(tmp_path: Path, old: str, new: str) -> None:
    assert linter_says(broken(tmp_path, DEPLOY / "Dockerfile", old, new)).returncode != 0


def test_prometheus_takes_its_configuration_and_finds_the_rules(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(DEPLOY / "prometheus", tmp_path / "prometheus"))

    done = promtool("check", "config", "prometheus.yml", folder=folder)
    (folder / "alerts.yml").unlink()
    without = promtool("check", "config", "prometheus.yml", folder=folder)

    assert (done.returncode, without.returncode) == (0, 1), done.stdout + without.stdout
