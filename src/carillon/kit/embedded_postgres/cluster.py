"""Makes the cluster: initdb into a draft, one sync, one rename; a start that was interrupted leaves nothing in use."""

import os
import shutil
import signal
import tempfile
from asyncio import to_thread
from pathlib import Path
from typing import IO

from carillon.kit.embedded_postgres.errors import OTHER_FOLDER, EmbeddedPostgresError, explain_output
from carillon.kit.embedded_postgres.home import read_owner, write_owner
from carillon.kit.embedded_postgres.identity import ServerUser, check_has_name
from carillon.kit.embedded_postgres.installation import Installation
from carillon.kit.embedded_postgres.process import start_child
from carillon.kit.embedded_postgres.scram import scram_verifier
from carillon.kit.embedded_postgres.survivors import end_survivors

SUPERUSER = "postgres"
DRAFT_PREFIX = "draft-"
PROGRAM_TIMEOUT_S = 120.0
INITDB_OPTIONS = (
    "--no-instructions",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--auth=scram-sha-256",
    f"--username={SUPERUSER}",
)


async def ensure_cluster(installation: Installation) -> None:
    """Make the cluster when there is none; check the version and the superuser's password of an existing one."""
    await end_survivors(installation.home)
    if not installation.data.exists():
        await _create(installation)
        return
    _check_version(installation)
    owner = read_owner(installation.home)
    if owner is None or owner.id != installation.folder.identity().id:
        await _set_password(installation)


def _check_version(installation: Installation) -> None:
    found = (installation.data / "PG_VERSION").read_text().strip()
    if found != installation.major:
        raise EmbeddedPostgresError(
            f"the data in {installation.data} was written by PostgreSQL {found}, this installation has PostgreSQL "
            f"{installation.major}; install the version of Carillon that wrote it, or {OTHER_FOLDER}"
        )


async def _create(installation: Installation) -> None:
    """Complete and on disk under its final name, or not there at all."""
    check_has_name(installation.user)
    identity = installation.folder.identity()
    draft = await to_thread(_prepare, installation.home, installation.user, identity.superuser_password)
    try:
        initdb = (installation.binaries.initdb, "--pgdata", draft / "data")
        await _run((*initdb, "--no-sync", "--pwfile", draft / "password", *INITDB_OPTIONS), installation, draft)
        await _run((*initdb, "--sync-only"), installation, draft)
        write_owner(installation.home, installation.folder, identity=identity.id)
        await to_thread(_publish, draft / "data", installation.home)
    finally:
        await to_thread(shutil.rmtree, draft, ignore_errors=True)


async def _set_password(installation: Installation) -> None:
    """Give the superuser the password of a new identity file: the old one was lost."""
    identity = installation.folder.identity()
    statement = f"ALTER ROLE {SUPERUSER} PASSWORD '{scram_verifier(identity.superuser_password)}'\n"
    single_user = (installation.binaries.postgres, "--single", "-D", installation.data, "postgres")
    with tempfile.TemporaryFile() as script:
        script.write(statement.encode())
        script.seek(0)
        await _run(single_user, installation, installation.home, script=script)
    write_owner(installation.home, installation.folder, identity=identity.id)


def _prepare(home: Path, user: ServerUser, password: str) -> Path:
    for leftover in home.glob(f"{DRAFT_PREFIX}*"):
        shutil.rmtree(leftover)
    draft = Path(tempfile.mkdtemp(prefix=DRAFT_PREFIX, dir=home))
    secret = draft / "password"
    with os.fdopen(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(password)
    user.own(secret)
    user.own(draft)
    return draft


def _publish(data: Path, home: Path) -> None:
    data.rename(home / "data")
    descriptor = os.open(home, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def _run(
    command: tuple[str | Path, ...], installation: Installation, folder: Path, *, script: IO[bytes] | None = None
) -> None:
    """Run one program to its end; its output is read through an unnamed file, and quoted when it fails."""
    with tempfile.TemporaryFile() as output:
        child = start_child(
            command,
            user=installation.user,
            folder=folder,
            output=output,
            script=script,
            death_signal=signal.SIGKILL,
        )
        try:
            ended = await child.exited_within(PROGRAM_TIMEOUT_S)
        finally:
            child.send_session(signal.SIGKILL)
        name = Path(command[0]).name
        if not ended:
            raise EmbeddedPostgresError(f"{name} did not end within {PROGRAM_TIMEOUT_S:.0f} s; is the disk very slow?")
        if await child.wait() != 0:
            raise explain_output(f"{name} failed", _text(output), folder=folder, log=installation.folder.log)


def _text(output: IO[bytes]) -> str:
    output.seek(0)
    return output.read().decode(errors="replace")
