"""A service's schema: its own history, its own version table, statements written by hand, run by Alembic.

Alembic and SQLAlchemy cost a second and 30 MiB to import, so a schema that is up to date never loads them.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import asyncpg
import structlog

from carillon.kit.settings import SettingsError

_log = structlog.get_logger()
_LOOK_SECONDS = 15

State = Literal["current", "behind", "ahead"]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a schema stands: the revision `found` in it, if any, and the one that this code is `needed` with."""

    schema: str
    found: str | None
    needed: str
    known: frozenset[str]

    @property
    def state(self) -> State:
        if self.found == self.needed:
            return "current"
        return "behind" if self.found is None or self.found in self.known else "ahead"


async def migrate(dsn: str, schema: str, folder: Path) -> None:
    """Bring `schema` to the newest revision in `folder` (`versions/*.py`). Safe for several processes at once.

    One that a newer release has brought further stays as it is: whoever rolls back finds what is known here, and more.
    """
    found = await standing(dsn, schema, folder)
    if found.state == "ahead":
        _log.warning("schema_ahead", schema=schema, found=found.found, known=found.needed)
    elif found.state == "behind":
        from carillon.kit.migration_environment import upgrade  # noqa: PLC0415 - see above

        await upgrade(dsn, schema, folder)


async def is_current(dsn: str, schema: str, folder: Path) -> bool:
    return (await standing(dsn, schema, folder)).state == "current"


async def standing(dsn: str, schema: str, folder: Path) -> Standing:
    """Look, and change nothing; a file's name begins with its revision, `0001_words.py`.

    Raises SettingsError where nobody answers, and what PostgreSQL refuses as it comes.
    """
    known = frozenset(path.name.partition("_")[0] for path in (folder / "versions").glob("*.py"))
    return Standing(schema, await _found(dsn, schema), max(known), known)


async def _found(dsn: str, schema: str) -> str | None:
    connection = await _connected(dsn, schema)
    try:
        found: str | None = await connection.fetchval(f'SELECT max(version_num) FROM "{schema}".alembic_version')
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return None
    else:
        return found
    finally:
        await connection.close(timeout=5)


async def trouble_with(dsn: str, schema: str, folder: Path) -> str:
    """What is to be done about a schema, in one line for a person; empty when it is current. Changes nothing."""
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            found = await standing(dsn, schema, folder)
    except SettingsError as error:
        return f"unreachable. {error}"
    except TimeoutError:
        return f"unreachable. PostgreSQL did not answer within {_LOOK_SECONDS} s."
    except asyncpg.PostgresError as error:
        return f"unreachable. PostgreSQL refuses ({error}): correct its URL, or let its role read the schema {schema}."
    except (ValueError, asyncpg.InterfaceError) as error:  # its sentence may quote a password
        return f"unreachable. Its URL cannot be used ({type(error).__name__}): correct it."
    return _advice(found)


def _advice(found: Standing) -> str:
    if found.state == "current":
        return ""
    if found.state == "ahead":
        return (
            f"ahead, at {found.found}; this release knows {found.needed}. A newer release was here. "
            "Nothing is to be migrated: run that release, or roll back to this one as it is."
        )
    at = f"at {found.found}" if found.found else "without tables of ours"
    return f"behind, {at}; this release needs {found.needed}. Run `carillon migrate`."


async def _connected(dsn: str, schema: str) -> asyncpg.Connection:
    try:
        return await asyncpg.connect(dsn, timeout=10, command_timeout=10)
    except OSError as error:
        where = urlsplit(dsn).netloc.rpartition("@")[2] or "its socket"
        why = error.strerror or type(error).__name__
        raise SettingsError(
            f"PostgreSQL at {where}, for the schema {schema}, cannot be reached ({why}). Start it, or correct its URL."
        ) from None
