"""Secrets in files that only their owner reads, put in place whole or not at all."""

import os
import secrets
from pathlib import Path


def keep(path: Path, content: bytes) -> None:
    """Replace `path` in one step; a reader sees the old or the new, never a half."""
    written = _written_beside(path, content)
    written.replace(path)
    _settle(path.parent)


def keep_first(path: Path, content: bytes) -> bool:
    """Put `path` in place unless it is there; of several at once one wins. Tells whether it was this one."""
    written = _written_beside(path, content)
    try:
        os.link(written, path)
    except FileExistsError:
        return False
    finally:
        written.unlink()
    _settle(path.parent)
    return True


def read(path: Path) -> bytes | None:
    """None where there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _written_beside(path: Path, content: bytes) -> Path:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return beside


def _settle(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
