"""The PostgreSQL side of a data folder: one owner at a time, an identity and a superuser password of its own."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from carillon.kit.embedded_postgres.errors import OTHER_FOLDER, EmbeddedPostgresError, explained

LOG_LIMIT_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Identity:
    """Tells one data folder from its successor at the same path, and holds the superuser's password."""

    id: str
    superuser_password: str


@dataclass(frozen=True, slots=True)
class DataFolder:
    """A data folder that this process owns as long as the lock is held."""

    path: Path
    lock: int

    @property
    def pointer(self) -> Path:
        """The cluster, or the symbolic link to where it had to be placed."""
        return self.path / "postgres"

    @property
    def lock_file(self) -> Path:
        return _lock_file(self.path)

    @property
    def log(self) -> Path:
        return self.path / "postgres.log"

    @property
    def former_log(self) -> Path:
        return self.path / "postgres.log.1"

    @property
    def socket_link(self) -> Path:
        """A symbolic link to the folder of the Unix socket, whose own path has to be short."""
        return self.path / "postgres.socket"

    @property
    def identity_file(self) -> Path:
        return self.path / "postgres.json"

    def is_still_ours(self) -> bool:
        """Tell whether the lock on disk is the one we hold: no more once somebody removed the folder."""
        held = os.fstat(self.lock)
        try:
            found = self.lock_file.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:  # a disk that does not answer is no removal
            return True
        return (held.st_dev, held.st_ino) == (found.st_dev, found.st_ino)

    def identity(self) -> Identity:
        """Read the identity of the folder, made on first use."""
        try:
            stored = json.loads(self.identity_file.read_text())
            return Identity(stored["id"], stored["superuser_password"])
        except FileNotFoundError:
            return self._new_identity()
        except (ValueError, KeyError, TypeError) as error:
            raise EmbeddedPostgresError(
                f"{self.identity_file} is damaged; restore it, or remove it to get a new superuser password"
            ) from error

    def rotate_log(self) -> None:
        """Put a large log aside, so that two files bound what many starts can fill."""
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT_BYTES:
            self.log.replace(self.former_log)

    def open_log(self) -> IO[bytes]:
        """Open the log at its end, readable by the owner of the data folder alone."""
        file = os.fdopen(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
        if os.geteuid() == 0:
            owner = self.path.stat()
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        return file

    def _new_identity(self) -> Identity:
        identity = Identity(secrets.token_hex(8), secrets.token_urlsafe(24))
        draft = self.identity_file.with_name("postgres.json.draft")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump({"id": identity.id, "superuser_password": identity.superuser_password}, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.identity_file)
        return identity


@contextmanager
def claimed(data_dir: Path) -> Iterator[DataFolder]:
    """Own `data_dir` (made when missing) for the duration; a second owner is told who the first one is."""
    with explained(data_dir):
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = data_dir.resolve()
        lock = _locked(path)
    try:
        yield DataFolder(path, lock)
    finally:
        os.close(lock)


def _locked(path: Path) -> int:
    lock = os.open(_lock_file(path), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        owner = os.pread(lock, 32, 0).decode(errors="replace").strip() or "that is just starting"
        os.close(lock)
        raise EmbeddedPostgresError(f"{path} is in use by process {owner}; stop it or {OTHER_FOLDER}") from None
    except OSError:
        os.close(lock)
        raise
    return lock


def _lock_file(path: Path) -> Path:
    return path / "postgres.lock"
