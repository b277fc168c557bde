"""A service's schema: its own history, its own version table, statements written by hand, run by Alembic.

Alembic and SQLAlchemy cost a second and 30 MiB to import, so a schema that is up to date never loads them.
"""

from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from carillon.kit.settings import SettingsError


async def migrate(dsn: str, schema: str, folder: Path) -> None:
    """Bring `schema` to the newest revision in `folder` (`versions/*.py`). Safe for several processes at once."""
    if not await is_current(dsn, schema, folder):
        from carillon.kit.migration_environment import upgrade  # noqa: PLC0415 - see above

        await upgrade(dsn, schema, folder)


async def is_current(dsn: str, schema: str, folder: Path) -> bool:
    """Whether `schema` stands at the newest revision; a file's name begins with its revision, `0001_words.py`."""
    newest = max(path.name.partition("_")[0] for path in (folder / "versions").glob("*.py"))
    connection = await _connected(dsn, schema)
    try:
        found = await connection.fetchval(f'SELECT max(version_num) FROM "{schema}".alembic_version')
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return False
    finally:
        await connection.close(timeout=5)
    return bool(found == newest)


async def _connected(dsn: str, schema: str) -> asyncpg.Connection:
    try:
        return await asyncpg.connect(dsn, timeout=10, command_timeout=10)
    except OSError as error:
        where = urlsplit(dsn).netloc.rpartition("@")[2] or "its socket"
        why = error.strerror or type(error).__name__
        raise SettingsError(
            f"PostgreSQL at {where}, for the schema {schema}, cannot be reached ({why}). Start it, or correct its URL."
        ) from None
