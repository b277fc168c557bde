"""The Dockerfile's steps lead to a Carillon that runs, without an engine; broken copies lead nowhere."""

import hashlib
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.documents import image_steps
from tests.documents.judges import broken
from tests.documents.reading import ROOT
from tests.support.processes import free_port, spawn
from tests.support.waiting import eventually

DOCKERFILE = ROOT / "deploy/Dockerfile"


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_what_the_steps_leave_runs_and_writes_nothing_but_its_state(
    tmp_path: Path,
) -> None:
    image = image_steps.build(DOCKERFILE, tmp_path / "root")
    installed, port = tmp_path / "root/opt/carillon", str(free_port())
    before = _hashes(installed)

    command = [text.replace("0.0.0.0", "127.0.0.1") for text in image.command]
    health = [text.replace(":8000/", f":{port}/") for text in image.health]
    surroundings = {**image.surroundings(), "CARILLON_PORT": port}
    log = tmp_path / "log"
    running = spawn(
        [str(installed / "bin" / command[0]), *command[1:]],
        log=log,
        env=surroundings,
        cwd=Path(image.there(image.folder)),
    )
    try:

        def healthy() -> bool:
            assert running.poll() is None, log.read_text()
            return (
                subprocess.run(
                    [installed / "bin" / health[0], *health[1:]], env=surroundings, capture_output=True, timeout=30
                ).returncode
                == 0
            )

        await eventually(healthy, within=120, every=0.5, says="the health check of the image")
        os.kill(running.pid, signal.SIGTERM)
        assert running.wait(60) == 0, log.read_text()
    finally:
        if running.poll() is None:
            running.kill()

    assert _hashes(installed) == before
    assert _tools(installed) == set()


def test_a_step_that_nobody_knows_is_told(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="does not know ADD"):
        image_steps.build(broken(tmp_path, DOCKERFILE, "COPY src src", "ADD src src"), tmp_path / "root")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "requirements/runtime.txt requirements/traces.txt requirements/",
            "requirements/run.txt requirements/",
            "kept out",
        ),
        ("COPY pyproject.toml README.md LICENSE ./", "COPY deploy ./", "kept out"),
        ("python -m venv /opt/carillon", "python -m venv /opt/elsewhere", "RUN"),
    ],
)
def test_a_step_that_cannot_be_taken_is_told(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        image_steps.build(broken(tmp_path, DOCKERFILE, old, new), tmp_path / "root")


def _hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _tools(folder: Path) -> set[str]:
    """Installers and builders that are left."""
    found = {path.name for path in (*folder.glob("bin/*"), *folder.glob("lib/python*/site-packages/*"))}
    return {
        name
        for name in found
        if name.startswith(("pip", "setuptools", "hatch", "wheel", "gcc", "editables", "_editable"))
    }
