"""A small file system of its own, to be filled to the brim."""

import contextlib
import errno
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

_FILLER = "filler"


@contextlib.contextmanager
def small_disk(*, mebibytes: int) -> Iterator[Path | None]:
    """In memory; None where mounting is not allowed."""
    folder = Path(tempfile.mkdtemp(prefix="carillon-disk-"))
    folder.chmod(0o755)
    mounted = _said(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=755", "tmpfs", str(folder)])
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            _said(["umount", "--lazy", str(folder)])
        shutil.rmtree(folder, ignore_errors=True)


def fill(disk: Path) -> None:
    """Until nothing goes in any more."""
    with (disk / _FILLER).open("ab", buffering=0) as filler:
        for size in (1 << 20, 4_096, 1):
            try:
                while filler.write(bytes(size)):
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


def empty(disk: Path) -> None:
    """There is room again."""
    (disk / _FILLER).unlink(missing_ok=True)


def _said(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0
    except FileNotFoundError:
        return False
