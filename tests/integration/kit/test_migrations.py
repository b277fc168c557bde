"""Schemas are brought up to date once, by one process at a time, and cost nothing when they are."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError

from carillon.kit.migrations import is_current, migrate
from tests.support.locks import HOW_MANY_WAIT
from tests.support.waiting import eventually

FIRST = """
from alembic import op
revision, down_revision = "0001", None
def upgrade():
    op.execute("CREATE TABLE bells (weight integer)")
"""
SECOND = """
from alembic import op
revision, down_revision = "0002", "0001"
def upgrade():
    op.execute("ALTER TABLE bells ADD COLUMN note text")
"""
INDEXED = """
from carillon.kit.index_building import Index, build_indexes
revision, down_revision = "0002", "0001"
def upgrade():
    build_indexes("tower", [Index("bells_by_weight", "bells", "(weight)")])
"""
ENVIRONMENT = "from carillon.kit.migration_environment import run_environment\nrun_environment()\n"


def history(tmp_path: Path, *steps: str) -> Path:
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True, exist_ok=True)
    (folder / "env.py").write_text(ENVIRONMENT)
    for number, step in enumerate(steps, start=1):
        (folder / "versions" / f"{number:04}_step.py").write_text(step)
    return folder


async def columns(dsn: str) -> list[str]:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'tower' AND table_name = 'bells'"
        )
    finally:
        await connection.close()
    return sorted(row["column_name"] for row in rows)


async def test_each_step_is_taken_once_however_many_processes_start(database: str, tmp_path: Path) -> None:
    folder = history(tmp_path, FIRST)
    assert not await is_current(database, "tower", folder)

    await asyncio.gather(*(migrate(database, "tower", folder) for _ in range(3)))

    assert await is_current(database, "tower", folder)
    assert await columns(database) == ["weight"]


async def test_a_new_step_makes_the_schema_out_of_date_until_it_is_taken(database: str, tmp_path: Path) -> None:
    await migrate(database, "tower", history(tmp_path, FIRST))
    folder = history(tmp_path, FIRST, SECOND)
    assert not await is_current(database, "tower", folder)

    await migrate(database, "tower", folder)

    assert await columns(database) == ["note", "weight"]


async def test_a_schema_that_is_up_to_date_never_loads_alembic(database: str, tmp_path: Path) -> None:
    folder = history(tmp_path, FIRST)
    await migrate(database, "tower", folder)
    program = (
        "import asyncio, pathlib, sys\n"
        "from carillon.kit.migrations import migrate\n"
        f"asyncio.run(migrate({database!r}, 'tower', pathlib.Path({str(folder)!r})))\n"
        "sys.exit('alembic' in sys.modules or 'sqlalchemy' in sys.modules)\n"
    )

    ended = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], timeout=60)

    assert ended.returncode == 0


async def test_an_index_is_built_while_others_write_and_nobody_waits_for_it(database: str, tmp_path: Path) -> None:
    await migrate(database, "tower", history(tmp_path, FIRST))
    folder = history(tmp_path, FIRST, INDEXED)
    async with connected(database) as slow, connected(database) as other:
        async with slow.transaction():
            await slow.execute("INSERT INTO tower.bells VALUES (1)")
            building = asyncio.create_task(migrate(database, "tower", folder))
            await eventually(lambda: validity(other))
            await other.execute("SET lock_timeout = '5s'")
            await other.execute("INSERT INTO tower.bells VALUES (2)")
            assert await validity(other) == [False], "it waits for who wrote before"
        await building

        assert await validity(other) == [True]
        assert await other.fetchval("SELECT count(*) FROM tower.bells") == 2
    assert await is_current(database, "tower", folder)


async def test_an_index_that_a_crash_left_unfinished_is_built_anew(database: str, tmp_path: Path) -> None:
    await migrate(database, "tower", history(tmp_path, FIRST))
    folder = history(tmp_path, FIRST, INDEXED)
    async with connected(database) as slow, connected(database) as other:
        async with slow.transaction():
            await slow.execute("INSERT INTO tower.bells VALUES (1)")
            building = asyncio.create_task(migrate(database, "tower", folder))
            await eventually(lambda: validity(other))
            await other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND query LIKE 'CREATE INDEX CONCURRENTLY%'"
            )
            with pytest.raises(SQLAlchemyError):
                await building
        assert await validity(other) == [False]
        assert not await is_current(database, "tower", folder)

        await migrate(database, "tower", folder)

        assert await validity(other) == [True]
    assert await is_current(database, "tower", folder)


async def test_processes_that_wait_for_their_turn_do_not_hinder_the_building_of_an_index(
    database: str, tmp_path: Path
) -> None:
    folder = history(tmp_path, FIRST, INDEXED)

    async with asyncio.timeout(30):
        await asyncio.gather(*(migrate(database, "tower", folder) for _ in range(3)))

    async with connected(database) as connection:
        assert await validity(connection) == [True]


async def test_a_change_of_a_table_in_use_is_tried_again_and_makes_nobody_wait_meanwhile(
    database: str, tmp_path: Path
) -> None:
    await migrate(database, "tower", history(tmp_path, FIRST))
    folder = history(tmp_path, FIRST, SECOND)

    async def waits() -> bool:
        return bool(await other.fetchval(HOW_MANY_WAIT))

    async with connected(database) as slow, connected(database) as other:
        async with slow.transaction():
            await slow.fetch("SELECT FROM tower.bells")
            changing = asyncio.create_task(migrate(database, "tower", folder))
            await eventually(waits)
            await other.execute("SET lock_timeout = '5s'")
            await other.execute("INSERT INTO tower.bells VALUES (1)")
            assert not changing.done()
        await changing

    assert await columns(database) == ["note", "weight"]


async def test_each_step_is_kept_although_a_later_one_fails(database: str, tmp_path: Path) -> None:
    folder = history(tmp_path, FIRST, SECOND.replace("ADD COLUMN note text", "ADD COLUMN weight text"))

    with pytest.raises(ProgrammingError, match="already exists"):
        await migrate(database, "tower", folder)

    assert await columns(database) == ["weight"]
    await migrate(database, "tower", history(tmp_path, FIRST, SECOND))
    assert await columns(database) == ["note", "weight"]


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn, timeout=10, command_timeout=20)
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


async def validity(connection: asyncpg.Connection) -> list[bool]:
    """Of the index, if it is there."""
    sql = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('tower.bells_by_weight')"
    return [row[0] for row in await connection.fetch(sql)]
