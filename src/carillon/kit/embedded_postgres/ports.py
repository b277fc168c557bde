"""A free port and a short socket folder for the server."""

import random
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from carillon.kit.embedded_postgres.identity import ServerUser

LOWEST_PORT = 15000
FIRST_EPHEMERAL_PORT = 32768
TRIES = 200
SHORT_BASE = "/tmp"  # noqa: S108 -- mkdtemp makes the folder below it private
LONGEST_BASE = 60
HOST = "127.0.0.1"


def free_port() -> int:
    """Choose a port of 127.0.0.1 on which nobody listens now, below the range the kernel gives to outgoing connections.

    Inside that range a client that reconnects to a stopped server can be given the server's own port as its
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
def socket_folder(user: ServerUser) -> Iterator[Path]:
    """Make a private folder with a path short enough for a socket's 107 bytes, removed at the end."""
    base = tempfile.gettempdir()
    path = Path(tempfile.mkdtemp(prefix="carillon-", dir=base if len(base) <= LONGEST_BASE else SHORT_BASE))
    try:
        user.own(path)
        yield path
    finally:
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
