"""The release before this one: found in the history of the checkout, unpacked, and run beside the code under test."""

import io
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_REVISIONS = "src/carillon/*/migrations/versions/*.py"
_HOW = "the test needs the whole history and its tags: git fetch --unshallow --tags"


@dataclass(frozen=True, slots=True)
class Release:
    """The source of a commit; its libraries are those of the code under test."""

    name: str
    source: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self.source)}

    def revisions(self) -> set[str]:
        """Every migration, as `gateway/migrations/versions/0001_notifications.py`."""
        return revisions(self.source)


def revisions(source: Path) -> set[str]:
    package = source / "carillon"
    return {str(path.relative_to(package)) for path in package.glob("*/migrations/versions/*.py")}


def release_before(folder: Path) -> Release:
    """The last tag `v…` before this commit; as long as there is none, the commit before the newest migration came."""
    name = _last_tag() or _before_newest_migration()
    packed = _git("archive", "--format=tar", name, "src")
    with tarfile.open(fileobj=io.BytesIO(packed)) as tree:
        tree.extractall(folder, filter="data")
    release = Release(name, folder / "src")
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(release.source)], check=True, timeout=120)
    asked = [sys.executable, "-c", "import carillon; print(carillon.__file__)"]
    found = subprocess.run(asked, env=release.environment, capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.startswith(str(release.source)), f"{found.stdout} is not the release before"
    return release


def _last_tag() -> str | None:
    found = subprocess.run(
        ["git", "describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", "HEAD^"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return found.stdout.strip() if found.returncode == 0 else None


def _before_newest_migration() -> str:
    found = _git("log", "-1", "--diff-filter=A", "--format=%H %P", "--", _REVISIONS).decode().split()
    assert len(found) > 1, f"no commit before the newest migration is known here; {_HOW}"
    return found[1]


def _git(*arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, timeout=60)
    assert done.returncode == 0, f"git {arguments[0]}: {done.stderr.decode().strip()}; {_HOW}"
    return done.stdout
