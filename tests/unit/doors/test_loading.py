"""Whoever runs one service loads that one: the others cost seconds and tens of MiB."""

import subprocess
import sys

import pytest

from carillon.services import SERVICES

LOADED = "import sys; print(*sorted({name.split('.')[1] for name in sys.modules if name.startswith('carillon.')}))"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_built_without_the_others(name: str) -> None:
    building = f"from carillon.services import SERVICES; SERVICES[{name!r}].end_leases; SERVICES[{name!r}].settings; "

    assert loaded_by(building) & set(SERVICES) == {name}


def test_the_command_line_loads_no_service_before_it_knows_the_command() -> None:
    assert not loaded_by("import carillon.cli; ") & {*SERVICES, "simulators"}


def loaded_by(statements: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", statements + LOADED], capture_output=True, text=True, check=True)
    return set(done.stdout.split())
