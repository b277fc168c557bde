"""The failures of the embedded PostgreSQL: each message is one line and says what to do next."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NEARLY_FULL_BYTES = 1024 * 1024
QUOTED_LINES = 5
NO_SPACE = re.compile(r"No space left|Disk quota exceeded|Check free disk space|could not (write|extend).*wrote only")
OTHER_FOLDER = "set CARILLON_DATA_DIR to another folder"


class EmbeddedPostgresError(Exception):
    """An expected failure; the message is for the person who started the process."""


class PortTakenError(Exception):
    """Somebody else listens on the chosen port; try another one."""


class SurvivorsError(Exception):
    """Processes of an earlier run still hold the cluster; end them and try again."""


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn what the file system refuses below `folder` into one line of advice."""
    try:
        yield
    except OSError as error:
        raise explain_os_error(error, folder) from error


def explain_os_error(error: OSError, folder: Path) -> EmbeddedPostgresError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return _disk_full(folder)
    reason = error.strerror or str(error)
    where = error.filename if isinstance(error.filename, str) else folder
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}:
        return EmbeddedPostgresError(
            f"cannot write to the data folder {folder} ({where}: {reason}); make it writable or {OTHER_FOLDER}"
        )
    return EmbeddedPostgresError(f"PostgreSQL cannot use the data folder {folder} ({where}: {reason}); {OTHER_FOLDER}")


def explain_output(what: str, output: str, *, folder: Path, log: Path) -> EmbeddedPostgresError:
    """Say why a PostgreSQL program ended, from what it printed and from the state of the disk."""
    if NO_SPACE.search(output) or _is_nearly_full(folder):
        return _disk_full(folder)
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    quoted = " | ".join(lines[-QUOTED_LINES:]) or "it printed nothing"
    return EmbeddedPostgresError(f"{what}: {quoted}; the whole log is {log}")


def _disk_full(folder: Path) -> EmbeddedPostgresError:
    return EmbeddedPostgresError(
        f"no space left on the disk of {folder}; free some space and start again, or {OTHER_FOLDER}"
    )


def _is_nearly_full(folder: Path) -> bool:
    try:
        space = os.statvfs(folder)
    except OSError:
        return False
    return space.f_bavail * space.f_frsize < NEARLY_FULL_BYTES or (space.f_files > 0 and space.f_favail == 0)
