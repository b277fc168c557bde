"""`deploy/init.sql` on a real PostgreSQL: each role migrates its own schema, and enters no other."""

import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from carillon.kit.embedded_postgres import EmbeddedPostgres, embedded_postgres, ensure_database
from carillon.kit.embedded_postgres.binaries import find_binaries
from carillon.kit.migrations import is_current, migrate
from tests.documents.reading import ROOT

SERVICES = ("users", "templates", "gateway", "email_worker", "push_worker")


@pytest.fixture
async def initialised(tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A server whose database `carillon` was set up as the PostgreSQL image does it."""
    async with embedded_postgres(tmp_path) as server:
        await ensure_database(server)
        done = _run_init_sql(server.superuser_dsn(database="carillon"))
        assert done.returncode == 0, done.stderr
        yield server


async def test_every_service_migrates_under_its_own_role(initialised: EmbeddedPostgres) -> None:
    for service in SERVICES:
        await migrate(_dsn(initialised, service), service, _migrations(service))

    assert [s for s in SERVICES if not await is_current(_dsn(initialised, s), s, _migrations(s))] == []


async def test_no_role_can_look_into_another_s_schema(initialised: EmbeddedPostgres) -> None:
    open_to = {service: await _schemas_open_to(_dsn(initialised, service)) for service in SERVICES}

    assert open_to == {service: [service] for service in SERVICES}


async def _schemas_open_to(dsn: str) -> list[str]:
    connection = await asyncpg.connect(dsn, timeout=10, command_timeout=10)
    try:
        rows = await connection.fetch(
            "SELECT nspname FROM pg_namespace "
            "WHERE has_schema_privilege(oid, 'USAGE') AND nspname !~ '^(pg_|information_schema)'"
        )
    finally:
        await connection.close(timeout=5)
    return [row["nspname"] for row in rows]


def _run_init_sql(dsn: str) -> "subprocess.CompletedProcess[str]":
    psql = find_binaries().postgres.with_name("psql")
    return subprocess.run(
        [psql, "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--file", ROOT / "deploy/init.sql", dsn],
        env={**os.environ, **{f"{service.upper()}_PASSWORD": _password(service) for service in SERVICES}},
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )


def _password(service: str) -> str:
    return f"it's {service}"


def _dsn(server: EmbeddedPostgres, service: str) -> str:
    return server.dsn(database="carillon", user=service, password=_password(service))


def _migrations(service: str) -> Path:
    return ROOT / "src/carillon" / service / "migrations"
