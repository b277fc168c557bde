"""Makes the cluster: initdb into a draft, one sync, one rename; a start that was interrupted leaves nothing in use."""

import asyncio
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import IO

from carillon.kit.embedded_postgres.binaries import Binaries
from carillon.kit.embedded_postgres.errors import (
    OTHER_FOLDER,
    EmbeddedPostgresError,
    explain_output,
)
from carillon.kit.embedded_postgres.folder import DataFolder
from carillon.kit.embedded_postgres.identity import ServerUser
from carillon.kit.embedded_postgres.process import start_child

SUPERUSER = "postgres"
DRAFT_PREFIX = "draft-"
INITDB_TIMEOUT_S = 120.0
INITDB_OPTIONS = (
    "--no-instructions",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--auth=scram-sha-256",
    f"--username={SUPERUSER}",
)


def check_version(data: Path, *, major: str) -> None:
    """Refuse a cluster that another major version of PostgreSQL wrote."""
    found = (data / "PG_VERSION").read_text().strip()
    if found != major:
        raise EmbeddedPostgresError(
            f"the data in {data} was written by PostgreSQL {found}, this installation has PostgreSQL {major}; "
            f"install the version of Carillon that wrote it, or {OTHER_FOLDER}"
        )


async def create_cluster(home: Path, *, binaries: Binaries, user: ServerUser, folder: DataFolder) -> None:
    """Make `home`/data with the superuser's password of `folder`; complete and on disk, or not there at all."""
    draft = await asyncio.to_thread(_prepare, home, user, folder.identity().superuser_password)
    try:
        common = (binaries.initdb, "--pgdata", draft / "data")
        await _run((*common, "--no-sync", "--pwfile", draft / "password", *INITDB_OPTIONS), draft, user, folder)
        await _run((*common, "--sync-only"), draft, user, folder)
        await asyncio.to_thread(_publish, draft / "data", home)
    finally:
        await asyncio.to_thread(shutil.rmtree, draft, ignore_errors=True)


def _prepare(home: Path, user: ServerUser, password: str) -> Path:
    for leftover in home.glob(f"{DRAFT_PREFIX}*"):
        shutil.rmtree(leftover)
    draft = Path(tempfile.mkdtemp(prefix=DRAFT_PREFIX, dir=home))
    user.own(draft)
    secret = draft / "password"
    with os.fdopen(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(password)
    user.own(secret)
    return draft


def _publish(data: Path, home: Path) -> None:
    data.rename(home / "data")
    descriptor = os.open(home, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def _run(command: tuple[str | Path, ...], draft: Path, user: ServerUser, folder: DataFolder) -> None:
    """Run one program to its end; its output is read through an unnamed file, and quoted when it fails."""
    with tempfile.TemporaryFile() as output:
        child = start_child(command, user=user, folder=draft, output=output, death_signal=signal.SIGKILL)
        try:
            ended = await child.exited_within(INITDB_TIMEOUT_S)
        finally:
            child.send_session(signal.SIGKILL)
        if not ended:
            raise EmbeddedPostgresError(f"initdb did not end within {INITDB_TIMEOUT_S:.0f} s; is the disk very slow?")
        if await child.wait() != 0:
            raise explain_output("initdb failed", _text(output), folder=draft, log=folder.log)


def _text(output: IO[bytes]) -> str:
    output.seek(0)
    return output.read().decode(errors="replace")
