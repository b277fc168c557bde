"""A database for the services: each has a login role and a schema of its own, and no way into another's."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncpg

from carillon.kit.embedded_postgres.scram import scram_verifier
from carillon.kit.embedded_postgres.server import EmbeddedPostgres

DATABASE = "carillon"
TIMEOUT_S = 10.0
NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
SETUP_LOCK = 7_207_811  # one set-up at a time; any number nobody else locks


async def ensure_database(postgres: EmbeddedPostgres, *, database: str = DATABASE) -> None:
    """Make `database` when missing; only roles that were granted it may connect. Safe to repeat and to race."""
    _check(database)
    async with _set_up(postgres) as connection:
        await _ensure_database(connection, database)


async def ensure_role_and_schema(
    postgres: EmbeddedPostgres, *, name: str, password: str, database: str = DATABASE
) -> str:
    """In `database` (made when missing): a login role `name` with `password`, owner of the schema `name` alone.

    Safe to repeat and to race; the password becomes the given one. Returns the address to connect with.
    """
    _check(name)
    _check(database)
    async with _set_up(postgres) as connection:
        await _ensure_database(connection, database)
        if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", name):
            await connection.execute(f'CREATE ROLE "{name}"')
        async with _connected(postgres, database) as inside:
            await inside.execute(_role_and_schema(name, scram_verifier(password), database))
    return postgres.dsn(database=database, user=name, password=password)


async def _ensure_database(connection: Connection, database: str) -> None:
    if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", database):
        await connection.execute(f'CREATE DATABASE "{database}"')
    for name in (database, "postgres", "template1"):
        await connection.execute(f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC')


def _role_and_schema(name: str, verifier: str, database: str) -> str:
    return f"""
        ALTER ROLE "{name}" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD '{verifier}';
        ALTER ROLE "{name}" IN DATABASE "{database}" SET search_path = "{name}";
        GRANT CONNECT, TEMPORARY ON DATABASE "{database}" TO "{name}";
        CREATE SCHEMA IF NOT EXISTS "{name}" AUTHORIZATION "{name}";
        REVOKE ALL ON SCHEMA "{name}" FROM PUBLIC;
        REVOKE ALL ON SCHEMA public FROM PUBLIC;
    """


@asynccontextmanager
async def _set_up(postgres: EmbeddedPostgres) -> AsyncIterator[Connection]:
    """Hold the set-up lock; it is taken in one and the same database, for a lock is known in its database only."""
    async with _connected(postgres, "postgres") as connection:
        await connection.execute("SELECT pg_advisory_lock($1)", SETUP_LOCK)
        yield connection


@asynccontextmanager
async def _connected(postgres: EmbeddedPostgres, database: str) -> AsyncIterator[Connection]:
    dsn = postgres.superuser_dsn(database=database)
    connection = await asyncpg.connect(dsn, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
    try:
        yield connection
    finally:
        await connection.close(timeout=TIMEOUT_S)


def _check(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a database, role or schema: use a-z, 0-9 and _")
