"""The deployment files set only settings that exist, run commands that exist, and name files that exist."""

import re
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from carillon.cli import app
from carillon.kit.settings import load, variable
from carillon.process_settings import ProcessSettings
from carillon.services import SERVICES
from carillon.settings_table import rows
from tests.documents import composition
from tests.documents.reading import ROOT

_WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
_SETTINGS = {found.name for _, found in rows()}
_SHARED = {variable("", field) for entry in SERVICES.values() for field in entry.settings.__struct_fields__}
_SHARED |= {variable("", field) for field in ProcessSettings.__struct_fields__}


def test_every_variable_that_compose_sets_is_a_setting() -> None:
    set_there = {name for said in composition.ours().values() for name in said.get("environment", {})}

    assert set_there - _SETTINGS - _SHARED == set()


@pytest.mark.parametrize("service", SERVICES)
def test_what_compose_gives_a_service_is_enough_to_start_it(service: str) -> None:
    given = composition.environment(composition.ours()[service])

    settings = load(SERVICES[service].settings, service, given)

    assert f"//{service}:" in getattr(settings, "database_url")  # noqa: B009 - every service's own field
    assert load(ProcessSettings, service, given).host == "0.0.0.0"


def test_what_compose_gives_the_migration_is_enough_for_every_service() -> None:
    given = composition.environment(composition.ours()["migrate"])

    for name, entry in SERVICES.items():
        load(entry.settings, name, given)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_given_no_other_service_s_variables(service: str) -> None:
    names = composition.ours()[service]["environment"]

    foreign = [name for name in names if name not in _SHARED and not name.startswith(f"CARILLON_{service.upper()}_")]

    assert foreign == []


def test_compose_runs_every_service_and_the_migration_by_commands_that_exist() -> None:
    commands = {name: said["command"] for name, said in composition.ours().items()}

    catcher = commands.pop("mail_catcher")

    assert commands == {name: ["carillon", "run", name] for name in SERVICES} | {"migrate": ["carillon", "migrate"]}
    assert {"run", "migrate", "simulate"} <= set(app)
    assert catcher[:3] == ["carillon", "simulate", "smtp"]
    assert f"//mail_catcher:{catcher[catcher.index('--port') + 1]}?" in composition.example()["SMTP_URL"]


def test_compose_refers_only_to_services_volumes_secrets_and_files_that_there_are() -> None:
    whole = composition.compose()
    services: dict[str, dict[str, Any]] = whole["services"]

    needed = {name for said in services.values() for name in said.get("depends_on", {})}
    volumes = {name for said in services.values() for name in composition.named_volumes(said)}
    secrets = {name for said in services.values() for name in said.get("secrets", [])}
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


def test_the_secrets_that_compose_mounts_are_where_the_settings_look() -> None:
    mounted = {f"/run/secrets/{name}" for said in composition.ours().values() for name in said.get("secrets", [])}
    read = {
        value
        for said in composition.ours().values()
        for value in composition.environment(said).values()
        if value.startswith("/run/secrets/")
    }

    assert read == mounted


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
