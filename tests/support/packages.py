"""Debian packages for the suite without installing them: unpacked into a cache, nothing of the system is touched.

An installed server is used as it is. A fetched one needs apt (Debian, Ubuntu) but no root: the packages and what they
depend on are downloaded and unpacked, so no service is ever started and nothing is left but the cache folder.
"""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

FETCH_TIMEOUT = 600


@dataclass(frozen=True, slots=True)
class Installation:
    """Where a package's files lie: `/` when it is installed, else a folder of the cache."""

    root: Path

    def path(self, below_root: str) -> Path:
        return self.root / below_root

    def glob(self, pattern: str) -> Path:
        found = sorted(self.root.glob(pattern))
        assert found, f"{pattern} is missing below {self.root}: remove that folder and run again"
        return found[-1]

    def environment(self) -> dict[str, str]:
        """Return our environment with the package's programs and libraries found first."""
        if self.root == Path("/"):
            return dict(os.environ)
        folders = (*self.root.glob("usr/lib/*-linux-gnu*"), *self.root.glob("lib/*-linux-gnu*"))
        libraries = ":".join(str(path) for path in sorted(folders))
        programs = ":".join(str(self.root / path) for path in ("usr/lib/erlang/bin", "usr/sbin", "usr/bin"))
        return {**os.environ, "PATH": f"{programs}:{os.environ.get('PATH', '')}", "LD_LIBRARY_PATH": libraries}


def package(name: str, *, marker: str) -> Installation:
    """Find `name` on the system or in the cache, else fetch it; `marker` is a file pattern that proves it complete."""
    if any(Path("/").glob(marker)):
        return Installation(Path("/"))
    cached = _cache() / name
    with cached.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one worker fetches, the others wait for it
        if not any(cached.glob(marker)):
            _fetch(name, cached)
    return Installation(cached)


def _cache() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    try:
        folder = base / "carillon-test-servers"
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.gettempdir()) / f"carillon-test-servers-{os.getuid()}"
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _fetch(name: str, target: Path) -> None:
    advice = f"the tests need {name}: apt-get install --no-install-recommends {name}"
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise RuntimeError(advice)
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=target.parent) as scratch:
        try:
            _download(name, Path(scratch))
            unpacked = Path(scratch) / "root"
            for archive in sorted(Path(scratch).glob("archives/*.deb")):
                _run(["dpkg-deb", "--extract", str(archive), str(unpacked)])
        except (OSError, subprocess.SubprocessError) as error:
            raise RuntimeError(f"{advice} ({getattr(error, 'stderr', b'') or error!r})") from error
        _relocate_erlang(unpacked, target)
        _relocate_fonts(unpacked, target)
        shutil.rmtree(target, ignore_errors=True)
        unpacked.rename(target)


def _download(name: str, scratch: Path) -> None:
    (scratch / "archives" / "partial").mkdir(parents=True)
    apt = ["apt-get", "-q", "-y", "-o", f"Dir::Cache={scratch}", "-o", f"Dir::Cache::archives={scratch}/archives"]
    apt += ["-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User="]
    download = [*apt, "install", "--download-only", "--no-install-recommends", name]
    try:
        _run(download)
    except subprocess.CalledProcessError:  # the lists are missing or old: fetch them into the scratch folder
        lists = ["-o", f"Dir::State::lists={scratch}/lists"]
        (scratch / "lists" / "partial").mkdir(parents=True)
        _run([*apt, *lists, "update"])
        _run([*download, *lists])


def _run(command: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(command, check=True, capture_output=True, timeout=FETCH_TIMEOUT, env=environment)


def _relocate_erlang(unpacked: Path, target: Path) -> None:
    """Tell Erlang's start script where it will lie: Debian has written its own place into it."""
    script = unpacked / "usr/lib/erlang/bin/erl"
    if script.exists():
        script.write_text(
            re.sub(r"ROOTDIR=/usr/lib/erlang\b", f'ROOTDIR="{target}/usr/lib/erlang"', script.read_text())
        )


def _relocate_fonts(unpacked: Path, target: Path) -> None:
    """Tell fontconfig where the package's own fonts will lie: a bare system has no others."""
    configuration = unpacked / "etc/fonts/fonts.conf"
    if configuration.exists():
        installed = "<dir>/usr/share/fonts</dir>"
        fetched = f"<dir>{target}/usr/share/fonts</dir>"
        configuration.write_text(configuration.read_text().replace(installed, f"{installed}{fetched}"))
