"""`deploy/roll-out.sh` with a `docker` that only plays its part: what fails is rolled back, and said."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.documents.reading import ROOT

_DOCKER = """#!/usr/bin/env bash
# Notes every call with the image it is for; a step named in FAILS fails for the new image.
echo "$CARILLON_IMAGE $*" >> "$CALLS"
fails() { [ "$CARILLON_IMAGE" = new ] && [[ " $FAILS " == *" $1 "* ]]; }
case "$*" in
  "compose ps --quiet gateway") [ -z "$BEFORE" ] || echo container ;;
  "inspect "*) echo "$BEFORE" ;;
  "compose config --services") printf '%s\\n' postgres front_door migrate users gateway email_worker ;;
  "compose pull"*) ! fails pull ;;
  "compose up"*) ! fails up ;;
  "compose exec"*) ! fails ready ;;
  "compose run"*) ! fails smoke ;;
  *) echo "not expected: $*" >&2; exit 2 ;;
esac
"""


@dataclass
class Rolled:
    code: int
    said: str
    calls: list[str]

    @property
    def replaced(self) -> list[str]:
        """The images that the services were brought up on, in their order."""
        return [call.split()[0] for call in self.calls if " compose up " in call]


def roll_out(
    folder: Path, *, fails: str = "", before: str = "old", door: str = "http://front", image: str = "new"
) -> Rolled:
    docker, calls = folder / "docker", folder / "calls"
    docker.write_text(_DOCKER)
    docker.chmod(0o755)
    script = folder / "roll-out.sh"
    script.write_text((ROOT / "deploy/roll-out.sh").read_text())
    surroundings = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "CALLS": str(calls),
        "FAILS": fails,
        "BEFORE": before,
        "CARILLON_IMAGE": image,
        "FRONT_DOOR": door,
        "ROLL_OUT_TRIES": "2",
        "ROLL_OUT_PAUSE": "0",
    }
    ran = subprocess.run(["bash", str(script)], env=surroundings, capture_output=True, text=True, timeout=30)
    return Rolled(ran.returncode, ran.stdout + ran.stderr, calls.read_text().splitlines())


def test_what_serves_stays(tmp_path: Path) -> None:
    rolled = roll_out(tmp_path)

    assert (rolled.code, rolled.replaced) == (0, ["new"])
    assert rolled.said.endswith("new serves\n")
    asked = [call.split()[4] for call in rolled.calls if " compose exec " in call]
    assert asked == ["users", "gateway", "email_worker"], "ours, and nobody else's"
    assert rolled.calls[-1] == "new compose run --rm --no-deps -T migrate carillon smoke http://front"


@pytest.mark.parametrize("step", ["up", "ready", "smoke"])
def test_what_does_not_serve_is_rolled_back(tmp_path: Path, step: str) -> None:
    rolled = roll_out(tmp_path, fails=step)

    assert (rolled.code, rolled.replaced) == (1, ["new", "old"])
    assert "new does not serve: back to old" in rolled.said
    assert rolled.said.endswith("old serves again\n")
    back = next(call for call in rolled.calls if call.startswith("old compose up "))
    assert back.endswith("--no-deps users gateway email_worker"), "and nothing is migrated by the former release"


def test_an_image_that_cannot_be_fetched_replaces_nothing(tmp_path: Path) -> None:
    rolled = roll_out(tmp_path, fails="pull")

    assert (rolled.code != 0, rolled.replaced) == (True, [])


@pytest.mark.parametrize("before", ["", "new"])
def test_where_there_is_nothing_to_go_back_to_it_says_so(tmp_path: Path, before: str) -> None:
    rolled = roll_out(tmp_path, fails="ready", before=before)

    assert (rolled.code, rolled.replaced) == (1, ["new"])
    assert "no other image to go back to" in rolled.said


def test_without_a_front_door_there_is_no_smoke_test(tmp_path: Path) -> None:
    rolled = roll_out(tmp_path, fails="smoke", door="")

    assert rolled.code == 0
    assert not [call for call in rolled.calls if " compose run " in call]


def test_without_an_image_in_its_surroundings_it_takes_that_of_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("REGISTRATION=closed\nCARILLON_IMAGE=new\n")

    rolled = roll_out(tmp_path, image="")

    assert (rolled.code, rolled.replaced) == (0, ["new"])
