"""Where Alembic runs one service's history: the only importer of Alembic and SQLAlchemy, loaded when there is work."""

from pathlib import Path
from typing import Any

import sqlalchemy
from alembic import command, context
from alembic.config import Config
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

_LOCK = 0x0CA7_1110


async def upgrade(dsn: str, schema: str, folder: Path) -> None:
    """Bring `schema` to the newest revision; one process at a time, the others wait and find nothing to do."""
    driver = "postgresql+asyncpg://" + dsn.partition("://")[2]
    engine = create_async_engine(driver, connect_args={"timeout": 10}, poolclass=sqlalchemy.NullPool)
    try:
        async with engine.connect() as connection:
            await connection.execute(sqlalchemy.text(f"SELECT pg_advisory_lock({_LOCK}, hashtext('{schema}'))"))
            await _ensure_schema(connection, schema)
            await connection.commit()
            await connection.run_sync(_upgrade, schema, folder)
            await connection.commit()
    finally:
        await engine.dispose()


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
    context.configure(connection=connection, version_table_schema=schema, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
