"""What stays the same from one start of the server to the next: programs, user, place, configuration."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from carillon.kit.embedded_postgres.binaries import Binaries, find_binaries, major_version, reachable_binaries
from carillon.kit.embedded_postgres.errors import EmbeddedPostgresError
from carillon.kit.embedded_postgres.folder import DataFolder
from carillon.kit.embedded_postgres.home import settle, shelter_for_root
from carillon.kit.embedded_postgres.identity import ServerUser, choose_server_user
from carillon.kit.embedded_postgres.ports import HOST
from carillon.kit.embedded_postgres.sweep import sweep

DATA = "data"
SETTINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "fsync": "on",
        "synchronous_commit": "on",
        "max_connections": "200",
        "password_encryption": "scram-sha-256",
        # Memory: one small machine carries the whole platform.
        "shared_buffers": "64MB",
        "io_method": "sync",
        "jit": "off",
        "max_parallel_workers_per_gather": "0",
        "max_logical_replication_workers": "0",
        # Nobody replicates from here.
        "max_wal_senders": "0",
        "wal_level": "minimal",
        # The log: no addresses from statements and error details, the same clock everywhere.
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_error_verbosity": "terse",
        "log_min_error_statement": "panic",
        "log_line_prefix": "%m [%p] ",
        "log_checkpoints": "off",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """One data folder with the programs that serve it."""

    folder: DataFolder
    home: Path
    user: ServerUser
    binaries: Binaries
    major: str
    settings: Mapping[str, str]

    @property
    def data(self) -> Path:
        return self.home / DATA

    @property
    def pid_file(self) -> Path:
        return self.data / "postmaster.pid"

    def command(self, *, port: int, socket_dir: Path) -> list[str | Path]:
        fixed = {
            "listen_addresses": HOST,
            "port": str(port),
            "unix_socket_directories": str(socket_dir),
            "logging_collector": "off",
        }
        settings = {**SETTINGS, **self.settings, **fixed}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [self.binaries.postgres, "-D", self.data, *options]


def install(folder: DataFolder, settings: Mapping[str, str]) -> Installation:
    """Choose the user, find the programs, settle the place of the cluster. Blocks: it may copy the programs."""
    if sys.platform != "linux":
        raise EmbeddedPostgresError(
            "the embedded PostgreSQL runs on Linux only; point the services' database DSN settings at a server"
        )
    user = choose_server_user(folder.pointer / DATA)
    binaries = find_binaries()
    if user.borrowed:
        shelter = shelter_for_root()
        binaries = reachable_binaries(binaries, user=user, shelter=shelter)
        if not folder.pointer.exists():
            sweep(shelter, folder)
    folder.rotate_log()
    return Installation(
        folder=folder,
        home=settle(folder, user=user),
        user=user,
        binaries=binaries,
        major=major_version(binaries),
        settings=settings,
    )
