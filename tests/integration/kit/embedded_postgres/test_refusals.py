"""What cannot work is refused with one line that says what to do."""

from collections.abc import Callable
from pathlib import Path

import pytest

from carillon.kit.embedded_postgres import EmbeddedPostgresError, embedded_postgres
from tests.integration.kit.embedded_postgres.conftest import query

NO_SPACE = "could not write to file: No space left on device"
WROTE_LESS = 'could not extend file "base/1/1259": wrote only 4096 of 8192 bytes at block 3'
HINTED = 'could not extend file "base/1/1259"\nHINT:  Check free disk space.'


async def refusal(data_dir: Path, **settings: str) -> str:
    """Start and return the message, which is always one line."""
    with pytest.raises(EmbeddedPostgresError) as caught:
        await _start(data_dir, settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


def replace(file: Path, content: str) -> str:
    former = file.read_text()
    file.write_text(content)
    return former


async def _start(data_dir: Path, settings: dict[str, str]) -> None:
    async with embedded_postgres(data_dir, settings=settings):
        pass


@pytest.fixture
def stand_in(reachable_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put PostgreSQL programs of our own making, shell scripts, in front of the installed ones."""

    def install(**scripts: str) -> None:
        site = reachable_folder / "site"
        programs = site / "embedded_postgres" / "pginstall" / "bin"
        for folder in (programs, programs.with_name("lib"), programs.with_name("share")):
            folder.mkdir(parents=True)
        for name, script in scripts.items():
            (programs / name).write_text(f"#!/bin/sh\n{script}\n")
            (programs / name).chmod(0o755)
        (site / "embedded_postgres" / "__init__.py").touch()
        monkeypatch.syspath_prepend(str(site))

    return install


async def test_a_setting_postgresql_refuses_is_quoted_from_its_log(data_dir: Path) -> None:
    message = await refusal(data_dir, shared_buffers="lots")

    assert 'invalid value for parameter "shared_buffers": "lots"' in message
    assert f"the whole log is {data_dir / 'postgres.log'}" in message


async def test_data_of_another_major_version_is_refused_and_left_alone(data_dir: Path) -> None:
    async with embedded_postgres(data_dir) as postgres:
        await query(postgres, "CREATE TABLE kept AS SELECT 42 AS answer")
        version_file = postgres.pid_file.with_name("PG_VERSION")
    version = replace(version_file, "9\n")

    message = await refusal(data_dir)

    assert f"was written by PostgreSQL 9, this installation has PostgreSQL {version.strip()}; install" in message
    replace(version_file, version)
    async with embedded_postgres(data_dir) as postgres:
        assert await query(postgres, "SELECT answer FROM kept") == 42


async def test_a_file_where_the_data_folder_should_be_is_refused() -> None:
    assert "cannot write to the data folder /dev/null" in await refusal(Path("/dev/null"))


async def test_a_damaged_identity_file_is_named(data_dir: Path) -> None:
    async with embedded_postgres(data_dir):
        identity = data_dir / "postgres.json"
    replace(identity, "{")

    message = await refusal(data_dir)

    assert f"{identity} is damaged; restore it, or remove it to get a new superuser password" in message


async def test_an_installation_without_programs_is_told_apart(data_dir: Path, stand_in: Callable[..., None]) -> None:
    stand_in()

    assert "has no PostgreSQL programs for this platform" in await refusal(data_dir)


async def test_programs_of_another_machine_are_told_apart(data_dir: Path, stand_in: Callable[..., None]) -> None:
    stand_in(postgres="exit 126", initdb="exit 126")

    assert "do not run on this machine" in await refusal(data_dir)


@pytest.mark.parametrize("said", [NO_SPACE, WROTE_LESS, HINTED])
async def test_a_disk_that_is_full_for_initdb_is_named(
    data_dir: Path, stand_in: Callable[..., None], said: str
) -> None:
    stand_in(postgres="echo postgres 18.0", initdb=f"echo 'initdb: error: {said}'; exit 1")

    message = await refusal(data_dir)

    assert message.startswith("no space left on the disk of")
    assert message.endswith("free some space and start again, or set CARILLON_DATA_DIR to another folder")


async def test_a_disk_that_is_full_for_the_server_is_named(data_dir: Path, stand_in: Callable[..., None]) -> None:
    async with embedded_postgres(data_dir):
        pass
    stand_in(
        postgres=f'[ "$1" = --version ] && echo postgres 18.0 && exit; echo "FATAL: {NO_SPACE}"; exit 1',
        initdb="exit 1",
    )

    assert (await refusal(data_dir)).startswith("no space left on the disk of")
