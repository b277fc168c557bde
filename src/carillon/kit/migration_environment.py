"""Where Alembic runs one service's history, loaded when there is work; a busy table is asked for shortly and again."""

import asyncio
from pathlib import Path
from typing import Any

import sqlalchemy
from alembic import command, context
from alembic.config import Config
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

_LOCK = 0x0CA7_1110
_BETWEEN_LOOKS = 0.2

# Whoever waits for a table makes all wait who come after, so a revision waits shortly, and is tried again as a whole.
LOCK_TIMEOUT = "500ms"
_TRIES = 60
_BETWEEN_TRIES = 1.0
_IN_USE = frozenset({"55P03", "40P01"})  # lock not available, deadlock detected


async def upgrade(dsn: str, schema: str, folder: Path) -> None:
    """Bring `schema` to the newest revision; one process at a time, the others wait and find nothing to do."""
    driver = "postgresql+asyncpg://" + dsn.partition("://")[2]
    given = {"timeout": 10, "server_settings": {"lock_timeout": LOCK_TIMEOUT}}
    engine = create_async_engine(driver, connect_args=given, poolclass=sqlalchemy.NullPool)
    try:
        async with engine.connect() as connection:
            await _turn(connection, schema)
            await _ensure_schema(connection, schema)
            await connection.commit()
            await _revise(connection, schema, folder)
    finally:
        await engine.dispose()


async def _turn(connection: AsyncConnection, schema: str) -> None:
    """Asked for again and again: a statement that waits is one that the building of an index would wait for."""
    mine = sqlalchemy.text(f"SELECT pg_try_advisory_lock({_LOCK}, hashtext('{schema}'))")
    while True:
        got = await connection.scalar(mine)
        await connection.commit()
        if got:
            return
        await asyncio.sleep(_BETWEEN_LOOKS)


async def _revise(connection: AsyncConnection, schema: str, folder: Path) -> None:
    """Each revision in its own transaction; one that finds its tables in use is undone and tried again."""
    for left in range(_TRIES, 0, -1):
        try:
            await connection.run_sync(_upgrade, schema, folder)
            await connection.commit()
        except sqlalchemy.exc.DBAPIError as error:
            await connection.rollback()
            if left == 1 or getattr(error.orig, "sqlstate", None) not in _IN_USE:
                raise
            await asyncio.sleep(_BETWEEN_TRIES)
        else:
            return


async def _ensure_schema(connection: AsyncConnection, schema: str) -> None:
    """`CREATE SCHEMA IF NOT EXISTS` would ask for the right to create schemas even where it stands."""
    known = sqlalchemy.text("SELECT true FROM pg_namespace WHERE nspname = :schema")
    if not await connection.scalar(known, {"schema": schema}):
        await connection.execute(sqlalchemy.text(f'CREATE SCHEMA "{schema}"'))


def _upgrade(connection: Any, schema: str, folder: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes.update(connection=connection, schema=schema)
    command.upgrade(config, "head")


def run_environment() -> None:
    """The body of every service's `migrations/env.py`."""
    given = context.config.attributes
    connection, schema = given["connection"], given["schema"]
    connection.execute(sqlalchemy.text(f'SET search_path TO "{schema}"'))
    connection.execute(sqlalchemy.text("RESET lock_timeout"))
    connection.commit()  # within a transaction of its caller Alembic would make none of its own
    context.configure(connection=connection, version_table_schema=schema, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
