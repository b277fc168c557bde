"""The Dockerfile's steps without a container engine: a folder stands for the root, the environment is the image's.

The machine's Python stands for the base image's. What the last stage does to its base image (remove installers, add a
user) is not done: there is none.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from tests.documents.reading import ROOT

_KNOWN = {"FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK", "CMD"}
_REACHES_THE_REGISTRY = ("PIP_", "SSL_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@dataclass
class Image:
    """What the last stage leaves: `root` has its files, the rest is how it is run."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    def there(self, text: str) -> str:
        """With the image's absolute paths as they are on this machine; the system's own stay."""
        return re.sub(r"(?<![\w./:])/(?=(opt|build|var/lib/carillon)\b)", f"{self.root}/", text)

    def surroundings(self) -> dict[str, str]:
        given = {name: self.there(value) for name, value in self.environment.items()}
        return {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(self.root), **given}


def build(dockerfile: Path, root: Path) -> Image:
    """Raises AssertionError for an instruction that is not known, and where a step fails."""
    stages = [[]]  # type: list[list[tuple[str, str]]]
    for instruction, rest in instructions(dockerfile.read_text()):
        assert instruction in _KNOWN, f"this reader of Dockerfiles does not know {instruction}"
        if instruction == "FROM":
            stages.append([])
        if instruction == "COPY" and not rest.startswith("--from"):
            _check(rest.split()[:-1])
        stages[-1].append((instruction, rest))
    *before, last = (stage for stage in stages if stage)
    for stage in before:
        _take(Image(root), stage, runs=True)
    kept = _kept(last, root)
    image = Image(root)
    _take(image, last, runs=False)
    assert kept, "the last stage takes nothing from the stages before"
    return image


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """(instruction, the rest of it), continued lines joined, comments dropped."""
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    for line in filter(str.strip, joined.splitlines()):
        instruction, _, rest = line.partition(" ")
        yield instruction, rest.strip()


def _take(image: Image, stage: list[tuple[str, str]], *, runs: bool) -> None:
    for instruction, rest in stage:
        match instruction:
            case "ENV":
                pairs = (pair.partition("=") for pair in shlex.split(rest))
                image.environment |= {name: _expanded(value, image) for name, _, value in pairs}
            case "WORKDIR" | "VOLUME":
                Path(image.there(rest)).mkdir(parents=True, exist_ok=True)
                image.folder = rest
            case "COPY" if not rest.startswith("--from"):
                _copy(image, rest.split())
            case "RUN" if runs:
                _run(image, rest)
            case "HEALTHCHECK":
                image.health = json.loads(rest.partition("CMD ")[2])
            case "CMD":
                image.command = json.loads(rest)


def _expanded(value: str, image: Image) -> str:
    return value.replace("$PATH", image.surroundings()["PATH"])


def _copy(image: Image, given: list[str]) -> None:
    *sources, target = given
    into = Path(image.there(image.folder)) / target
    for found in (ROOT / source for source in sources):
        if found.is_dir():
            shutil.copytree(found, into, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            folder = into if target.endswith("/") or len(sources) > 1 else into.parent
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(found, folder)


def _check(sources: list[str]) -> None:
    rules = (ROOT / "deploy/Dockerfile.dockerignore").read_text().splitlines()
    for source in sources:
        let_in = any(rule.startswith("!") and fnmatch(source, rule[1:]) for rule in rules)
        assert let_in, f"{source} is kept out of the build by Dockerfile.dockerignore"
        assert (ROOT / source).exists(), f"COPY {source}: there is no such file"


def _run(image: Image, command: str) -> None:
    reaches = {name: value for name, value in os.environ.items() if name.startswith(_REACHES_THE_REGISTRY)}
    done = subprocess.run(
        ["/bin/sh", "-euc", image.there(command).replace("python -m", f"{shlex.quote(sys.executable)} -m")],
        cwd=image.there(image.folder),
        env={**reaches, **image.surroundings()},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"RUN {command}\n{done.stderr[-2000:]}"


def _kept(last: list[tuple[str, str]], root: Path) -> list[Path]:
    """What the last stage copies from the ones before, each to where it was; everything else is gone."""
    copied = [
        shlex.split(rest)[1:] for instruction, rest in last if instruction == "COPY" and rest.startswith("--from")
    ]
    assert all(source == target for source, target in copied), "a virtual environment cannot be moved"
    kept = [root / source.removeprefix("/") for source, _ in copied]
    for path in kept:
        assert path.exists(), f"COPY --from: there is no {path}"
    for path in sorted(root.iterdir()):
        if not any(each.is_relative_to(path) for each in kept):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return kept
