"""A free port and a short socket folder for the server."""

import os
import random
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from carillon.kit.embedded_postgres.errors import explained
from carillon.kit.embedded_postgres.folder import DataFolder
from carillon.kit.embedded_postgres.identity import ServerUser

HOST = "127.0.0.1"
LOWEST_PORT = 15000
FIRST_EPHEMERAL_PORT = 32768
TRIES = 200
PREFIX = "carillon-"
SHORT_BASE = "/tmp"  # noqa: S108 -- mkdtemp makes the folder below it private
LONGEST_BASE = 60


def free_port() -> int:
    """Choose a port of 127.0.0.1 on which nobody listens, below the range of the kernel's own choices.

    Inside that range a client that reconnects to a stopped server can be given the server's port as its
    source, connect to itself, and keep the server from coming back.
    """
    for _ in range(TRIES):
        port = random.randrange(LOWEST_PORT, max(_first_ephemeral_port(), LOWEST_PORT + 1))  # noqa: S311 -- no secret
        if _is_free(port):
            return port
    with socket.socket() as anything:
        anything.bind((HOST, 0))
        return int(anything.getsockname()[1])


@contextmanager
def socket_folder(folder: DataFolder, user: ServerUser) -> Iterator[Path]:
    """Make a private folder with a path short enough for a socket's 107 bytes; a link in the data folder shows it.

    Removed at the end; what a killed run left is removed by the next one.
    """
    base = tempfile.gettempdir()
    _remove(folder.socket_link, user)
    with explained(Path(base)):
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base if len(os.fsencode(base)) <= LONGEST_BASE else SHORT_BASE))
    try:
        with explained(folder.path):
            user.own(path)
            folder.socket_link.symlink_to(path)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        folder.socket_link.unlink(missing_ok=True)


def _remove(link: Path, user: ServerUser) -> None:
    if not link.is_symlink():
        return
    path = link.readlink()
    with explained(link.parent):
        link.unlink()
    try:
        found = path.lstat()
    except OSError:
        return
    if path.name.startswith(PREFIX) and stat.S_ISDIR(found.st_mode) and found.st_uid == user.uid:
        shutil.rmtree(path, ignore_errors=True)


def _first_ephemeral_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return FIRST_EPHEMERAL_PORT


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
