"""A database for the services: each has a login role and a schema of its own, and no way into another's."""

import re

import asyncpg

from carillon.kit.embedded_postgres.scram import scram_verifier
from carillon.kit.embedded_postgres.server import EmbeddedPostgres

DATABASE = "carillon"
TIMEOUT_S = 10.0
NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
SETUP_LOCK = 7_207_811  # one set-up at a time; any number nobody else locks


async def ensure_database(postgres: EmbeddedPostgres, *, database: str = DATABASE) -> None:
    """Make `database` when missing; only roles that were granted it may connect. Safe to repeat and to race."""
    _check(database)
    connection = await _connect(postgres, "postgres")
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", SETUP_LOCK)
        if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", database):
            await connection.execute(f'CREATE DATABASE "{database}"')
        for name in (database, "postgres", "template1"):
            await connection.execute(f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC')
    finally:
        await connection.close(timeout=TIMEOUT_S)


async def ensure_role_and_schema(
    postgres: EmbeddedPostgres, *, name: str, password: str, database: str = DATABASE
) -> str:
    """In `database` (made when missing): a login role `name` with `password`, owner of the schema `name` alone.

    Safe to repeat; the password becomes the given one. Returns the address to connect with.
    """
    _check(name)
    await ensure_database(postgres, database=database)
    connection = await _connect(postgres, database)
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", SETUP_LOCK)
            if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", name):
                await connection.execute(f'CREATE ROLE "{name}"')
            await connection.execute(_role_and_schema(name, scram_verifier(password), database))
    finally:
        await connection.close(timeout=TIMEOUT_S)
    return postgres.dsn(database=database, user=name, password=password)


def _role_and_schema(name: str, verifier: str, database: str) -> str:
    return f"""
        ALTER ROLE "{name}" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD '{verifier}';
        ALTER ROLE "{name}" IN DATABASE "{database}" SET search_path = "{name}";
        GRANT CONNECT, TEMPORARY ON DATABASE "{database}" TO "{name}";
        CREATE SCHEMA IF NOT EXISTS "{name}" AUTHORIZATION "{name}";
        REVOKE ALL ON SCHEMA "{name}" FROM PUBLIC;
        REVOKE ALL ON SCHEMA public FROM PUBLIC;
    """


async def _connect(postgres: EmbeddedPostgres, database: str) -> "asyncpg.Connection[asyncpg.Record]":
    return await asyncpg.connect(
        postgres.superuser_dsn(database=database), timeout=TIMEOUT_S, command_timeout=TIMEOUT_S
    )


def _check(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a database, role or schema: use a-z, 0-9 and _")
