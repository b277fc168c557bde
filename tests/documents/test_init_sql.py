"""`deploy/init.sql` on a real PostgreSQL: each role migrates its own database, and enters no other."""

import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from carillon.kit.embedded_postgres import EmbeddedPostgres, embedded_postgres
from carillon.kit.embedded_postgres.binaries import find_binaries
from carillon.kit.migrations import is_current, migrate
from tests.documents.reading import ROOT

SERVICES = ("users", "templates", "gateway", "email_worker", "push_worker")


@pytest.fixture
async def initialised(tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A server that was set up as the PostgreSQL image does it."""
    async with embedded_postgres(tmp_path) as server:
        done = _run_init_sql(server.superuser_dsn(database="postgres"), tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        yield server


async def test_every_service_migrates_under_its_own_role(initialised: EmbeddedPostgres) -> None:
    for service in SERVICES:
        await migrate(_dsn(initialised, service), service, _migrations(service))

    assert [s for s in SERVICES if not await is_current(_dsn(initialised, s), s, _migrations(s))] == []


async def test_no_role_enters_another_s_database_nor_that_of_nobody(initialised: EmbeddedPostgres) -> None:
    entered = {
        service: [name for name in (*SERVICES, "postgres") if await _enters(_dsn(initialised, service, name))]
        for service in SERVICES
    }

    assert entered == {service: [service] for service in SERVICES}


async def _enters(dsn: str) -> bool:
    try:
        connection = await asyncpg.connect(dsn, timeout=10, command_timeout=10)
    except asyncpg.InsufficientPrivilegeError:
        return False
    await connection.close(timeout=5)
    return True


def _run_init_sql(dsn: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    secrets = folder / "it's secret"
    secrets.mkdir()
    for service in SERVICES:
        (secrets / f"{service}_password").write_text(f"{_password(service)}\n")
    psql = find_binaries().postgres.with_name("psql")
    given = ("--set", "ON_ERROR_STOP=1", "--set", f"secrets={secrets}", "--file", ROOT / "deploy/init.sql")
    return subprocess.run(
        [psql, "--no-psqlrc", "--quiet", *given, dsn], check=False, capture_output=True, text=True, timeout=30
    )


def _password(service: str) -> str:
    return f"it's {service}"


def _dsn(server: EmbeddedPostgres, service: str, database: str = "") -> str:
    return server.dsn(database=database or service, user=service, password=_password(service))


def _migrations(service: str) -> Path:
    return ROOT / "src/carillon" / service / "migrations"
