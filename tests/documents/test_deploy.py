"""The deployment files set only settings that exist, run commands that exist, and name files that exist."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from carillon.cli import app
from carillon.kit.settings import in_file, load, variable
from carillon.process_settings import ProcessSettings
from carillon.services import SERVICES
from carillon.settings_table import rows
from tests.documents import composition
from tests.documents.reading import ROOT

_WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
_SETTINGS = {found.name for _, found in rows()}
_SHARED = {variable("", field) for entry in SERVICES.values() for field in entry.settings.__struct_fields__}
_SHARED |= {variable("", field) for field in ProcessSettings.__struct_fields__}
_SHARED |= {in_file(name) for name in _SHARED}


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return composition.make_secrets(tmp_path_factory.mktemp("deploy"))


def test_every_variable_that_compose_sets_is_a_setting() -> None:
    set_there = {name for said in composition.ours().values() for name in said.get("environment", {})}
    known = _SETTINGS | _SHARED

    assert set_there - known - {in_file(name) for name in known} == set()


@pytest.mark.parametrize("service", SERVICES)
def test_what_compose_gives_a_service_is_enough_to_start_it(service: str, secrets: Path) -> None:
    given = composition.environment(composition.ours()[service], str(secrets))

    settings = load(SERVICES[service].settings, service, given)

    password = (secrets / f"{service}_password").read_text().strip()
    assert getattr(settings, "database_url") == f"postgresql://{service}:{password}@postgres:5432/{service}"  # noqa: B009 - every service's own field
    assert load(ProcessSettings, service, given).host == "0.0.0.0"


def test_what_compose_gives_the_migration_is_enough_for_every_service(secrets: Path) -> None:
    given = composition.environment(composition.ours()["migrate"], str(secrets))

    for name, entry in SERVICES.items():
        load(entry.settings, name, given)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_given_no_other_service_s_variables(service: str) -> None:
    names = composition.ours()[service]["environment"]

    foreign = [name for name in names if name not in _SHARED and not name.startswith(f"CARILLON_{service.upper()}_")]

    assert foreign == []


def test_compose_runs_every_service_and_the_migration_by_commands_that_exist(secrets: Path) -> None:
    commands = {name: said["command"] for name, said in composition.ours().items()}

    catcher = commands.pop("mail_catcher")

    assert commands == {name: ["carillon", "run", name] for name in SERVICES} | {"migrate": ["carillon", "migrate"]}
    assert {"run", "migrate", "simulate"} <= set(app)
    assert catcher[:3] == ["carillon", "simulate", "smtp"]
    assert f"//mail_catcher:{catcher[catcher.index('--port') + 1]}?" in (secrets / "smtp_url").read_text()


def test_compose_refers_only_to_services_volumes_secrets_and_files_that_there_are() -> None:
    whole = composition.compose()
    services: dict[str, dict[str, Any]] = whole["services"]

    needed = {name for said in services.values() for name in said.get("depends_on", {})}
    volumes = {name for said in services.values() for name in composition.named_volumes(said)}
    secrets = {name for said in services.values() for name in composition.secrets_of(said)}
    files = [path for said in services.values() for path in composition.mounted_files(said)]

    assert needed <= set(services)
    assert volumes == set(whole["volumes"])
    assert secrets == set(whole["secrets"])
    assert files
    assert [str(path) for path in files if not path.is_file()] == []


def test_a_service_that_others_wait_for_has_a_check_of_its_health() -> None:
    services = composition.compose()["services"]
    awaited = {
        name
        for said in services.values()
        for name, how in said.get("depends_on", {}).items()
        if how["condition"] == "service_healthy"
    }

    assert {name for name in awaited if "test" not in services[name].get("healthcheck", {})} == set()


def test_the_example_of_an_environment_names_all_that_compose_asks_for_and_nothing_else() -> None:
    assert composition.asked_for() | {"COMPOSE_PROFILES"} == set(composition.example())


def test_each_service_is_handed_the_secrets_that_its_settings_name_and_no_other() -> None:
    handed = {name: set(composition.secrets_of(said).values()) for name, said in composition.ours().items()}
    named = {
        name: {value for value in composition.environment(said).values() if value.startswith(composition.SECRETS)}
        for name, said in composition.ours().items()
    }
    named["migrate"].remove("/run/secrets/fcm")  # there only where pushes are sent, and nothing that a migration reads

    assert handed == named


def test_no_environment_and_no_example_of_one_holds_a_password(secrets: Path) -> None:
    told = [
        str(value)
        for said in composition.compose()["services"].values()
        for value in said.get("environment", {}).values()
    ]
    words = re.compile(r"PASSWORD|PASS\b|SECRET|://[^/]*:[^/]*@")

    assert [value for value in (*told, *composition.example().values()) if words.search(value)] == []
    assert not any("PASSWORD" in name for name in composition.example())


def test_the_script_makes_every_secret_once_and_for_the_owner_of_the_folder_alone(secrets: Path) -> None:
    made = {path.name: path.read_text() for path in secrets.iterdir()}
    asked = {said["file"] for name, said in composition.compose()["secrets"].items() if name != "fcm"}

    assert {f"./secrets/{name}" for name in made} == asked
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in secrets.iterdir()} == {0o644}
    passwords = [text for name, text in made.items() if name.endswith("_password")]
    assert len({*passwords}) == len(passwords) == 7
    assert all(re.fullmatch(r"[0-9a-f]{48}\n", text) for text in passwords)
    composition.make_secrets(secrets.parent)
    assert {path.name: path.read_text() for path in secrets.iterdir()} == made


def test_without_random_values_the_script_makes_nothing(tmp_path: Path) -> None:
    dumb = tmp_path / "od"
    dumb.write_text("#!/bin/sh\nexit 1\n")
    dumb.chmod(0o755)
    script = tmp_path / "make-secrets.sh"
    script.write_bytes((composition.FOLDER / script.name).read_bytes())

    surroundings = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", script], env=surroundings, check=False, capture_output=True, text=True, timeout=30)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "make-secrets.sh: no random values to be had; nothing was made\n"
    assert not (tmp_path / "secrets").exists()


def test_rabbitmq_is_told_the_password_that_its_callers_have(secrets: Path) -> None:
    (told,) = re.findall(r"^default_pass = (\w+)$", (secrets / "rabbitmq.conf").read_text(), re.MULTILINE)

    assert (secrets / "broker_url").read_text() == f"amqp://carillon:{told}@rabbitmq:5672/\n"
    assert composition.secrets_of(composition.compose()["services"]["rabbitmq"]) == {
        "rabbitmq.conf": "/etc/rabbitmq/conf.d/50-carillon.conf"
    }


def test_the_image_copies_what_there_is_and_nothing_that_is_kept_from_it() -> None:
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    kept = (ROOT / "deploy/Dockerfile.dockerignore").read_text().splitlines()

    copied = [
        name for line in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE) for name in line.split()
    ]

    assert copied
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert [name for name in copied if f"!{name}" not in kept] == []


def test_the_image_installs_by_hashes_and_runs_a_command_that_exists() -> None:
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    command = re.search(r'^CMD \["carillon", "(?P<name>\w+)"', dockerfile, re.MULTILINE)

    assert "pip install --require-hashes" in dockerfile
    assert "\nUSER 10001\n" in dockerfile
    assert command is not None
    assert command["name"] in set(app)


@pytest.mark.parametrize("path", _WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_only_read_the_repository_and_its_actions_have_versions(path: Any) -> None:
    workflow = yaml.safe_load(path.read_text())
    used = [step["uses"] for job in workflow["jobs"].values() for step in job.get("steps", []) if "uses" in step]

    assert workflow["permissions"] == {"contents": "read"}
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+@v\d+", action) for action in used)


def test_the_workflow_and_the_script_of_continuous_integration_run_the_same_commands() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    steps = [step.get("run", "") for step in workflow["jobs"]["test"]["steps"]]
    script = (ROOT / ".ci/run").read_text().splitlines()

    assert [run for run in steps if run.startswith("make ")] == [line for line in script if line.startswith("make ")]
