"""Schemas are brought up to date once, by one process at a time, and cost nothing when they are."""

import asyncio
import subprocess
import sys
from pathlib import Path

import asyncpg

from carillon.kit.migrations import is_current, migrate

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
