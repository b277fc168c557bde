"""Alembic for one service's schema: its own history, its own version table, statements written by hand."""

import asyncio
from pathlib import Path
from typing import Any

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

_LOCK = 0x0CA7_1110


async def migrate(dsn: str, schema: str, folder: Path) -> None:
    """Bring `schema` to the newest revision in `folder` (`versions/*.py`). Safe for several processes at once."""
    engine = _engine(dsn)
    try:
        async with engine.connect() as connection:
            await connection.execute(sqlalchemy.text(f"SELECT pg_advisory_lock({_LOCK}, hashtext('{schema}'))"))
            await _ensure_schema(connection, schema)
            await connection.commit()
            await connection.run_sync(_upgrade, schema, folder)
            await connection.commit()
    finally:
        await engine.dispose()


async def is_current(dsn: str, schema: str, folder: Path) -> bool:
    """Whether `schema` stands at the newest revision in `folder`."""
    engine = _engine(dsn)
    try:
        async with engine.connect() as connection:
            return await _version(connection, schema) == await asyncio.to_thread(_newest, folder)
    finally:
        await engine.dispose()


def _engine(dsn: str) -> AsyncEngine:
    driver = dsn.replace("postgresql://", "postgresql+asyncpg://", 1)
    return create_async_engine(driver, connect_args={"timeout": 10}, poolclass=sqlalchemy.NullPool)


async def _ensure_schema(connection: AsyncConnection, schema: str) -> None:
    """`CREATE SCHEMA IF NOT EXISTS` would ask for the right to create schemas even where it stands."""
    known = sqlalchemy.text("SELECT true FROM pg_namespace WHERE nspname = :schema")
    if not await connection.scalar(known, {"schema": schema}):
        await connection.execute(sqlalchemy.text(f'CREATE SCHEMA "{schema}"'))


async def _version(connection: AsyncConnection, schema: str) -> str | None:
    table = await connection.scalar(sqlalchemy.text(f"SELECT to_regclass('\"{schema}\".alembic_version')::text"))
    if table is None:
        return None
    query = f'SELECT version_num FROM "{schema}".alembic_version'
    found: str | None = await connection.scalar(sqlalchemy.text(query))
    return found


def _newest(folder: Path) -> str | None:
    return ScriptDirectory(str(folder)).get_current_head()


def _upgrade(connection: Any, schema: str, folder: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes.update(connection=connection, schema=schema)
    command.upgrade(config, "head")


def run_environment() -> None:
    """The body of every service's `migrations/env.py`."""
    from alembic import context  # noqa: PLC0415 - only has content while Alembic runs an environment

    given = context.config.attributes
    connection, schema = given["connection"], given["schema"]
    connection.execute(sqlalchemy.text(f'SET search_path TO "{schema}"'))
    context.configure(connection=connection, version_table_schema=schema, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
