"""Secrets in files that only their owner reads, put in place whole or not at all. Raises SettingsError."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from carillon.kit.settings import SettingsError


def keep(path: Path, content: bytes) -> None:
    """Replace `path` in one step; a reader sees the old or the new, never a half."""
    with _beside(path, content) as written:
        written.replace(path)


def keep_first(path: Path, content: bytes) -> bool:
    """Put `path` in place unless it is there; of several at once one wins. Tells whether it was this one."""
    with _beside(path, content) as written:
        try:
            os.link(written, path)
        except FileExistsError:
            return False
    return True


def read(path: Path) -> bytes | None:
    """None where there is no such file."""
    with _explained(path):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None


@contextlib.contextmanager
def _beside(path: Path, content: bytes) -> Iterator[Path]:
    """A file of that content in the same folder, to be put in place and gone afterwards."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with _explained(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            yield beside
        finally:
            beside.unlink(missing_ok=True)
        _settle(path.parent)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Told by the name of the file: an OSError would pass for an outage of the database in whose transaction it is."""
    try:
        yield
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}. Mend it, or name another folder: CARILLON_DATA_DIR.") from None


def _settle(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
