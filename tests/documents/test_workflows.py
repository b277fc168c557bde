"""The workflows and the roll-out's script pass the linters of their kind; copies broken on purpose do not."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.documents.judges import broken, judged
from tests.documents.reading import ROOT

_WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
each_workflow = pytest.mark.parametrize("path", _WORKFLOWS, ids=lambda path: path.name)


def schema_says(path: Path) -> subprocess.CompletedProcess[str]:
    return judged("check-jsonschema", "--builtin-schema", "vendor.github-workflows", path)


@each_workflow
def test_a_workflow_is_one_by_its_schema(path: Path) -> None:
    said = schema_says(path)

    assert said.returncode == 0, said.stdout


@each_workflow
def test_a_workflow_s_expressions_and_scripts_have_no_fault(path: Path) -> None:
    said = judged("actionlint", path)

    assert said.returncode == 0, said.stdout


def test_a_workflow_whose_keys_mean_nothing_is_told(tmp_path: Path) -> None:
    said = schema_says(broken(tmp_path, ROOT / ".github/workflows/ci.yml", "timeout-minutes: 90", "timeout: 90"))

    assert said.returncode == 1
    assert "timeout" in said.stdout


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("ci.yml", "${{ matrix.python }}", "${{ matrix.pyton }}", "pyton"),
        ("deploy.yml", "needs: image", "needs: picture", "picture"),
        ("deploy.yml", '--tag "$IMAGE" .', "--tag $IMAGE .", "SC2086"),
    ],
)
def test_a_workflow_that_is_broken_on_purpose_is_told(tmp_path: Path, name: str, old: str, new: str, says: str) -> None:
    said = judged("actionlint", broken(tmp_path, ROOT / ".github/workflows" / name, old, new))

    assert said.returncode == 1
    assert says in said.stdout


def test_the_script_that_rolls_out_has_no_fault_and_a_broken_one_is_told(tmp_path: Path) -> None:
    script = ROOT / "deploy/roll-out.sh"

    assert judged("shellcheck", script).stdout == ""
    assert "SC2086" in judged("shellcheck", broken(tmp_path, script, '"$door"', "$door")).stdout


def test_the_bill_of_materials_names_each_library_of_the_image(tmp_path: Path) -> None:
    lock = (ROOT / "requirements/runtime.txt").read_text()
    locked = set(re.findall(r"^([a-z0-9-]+)==(\S+)", lock, re.MULTILINE))

    ran = subprocess.run(
        ["make", "sbom", f"SBOM={tmp_path / 'sbom.json'}"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )

    assert ran.returncode == 0, ran.stderr
    bill = json.loads((tmp_path / "sbom.json").read_text())
    assert {(one["name"].lower(), one["version"]) for one in bill["components"]} == locked
