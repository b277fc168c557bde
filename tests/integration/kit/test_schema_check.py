"""What a look at a schema tells: one line with what is to be done, whatever is wrong, and nothing is changed by it."""

import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import asyncpg
import pytest
from structlog.testing import capture_logs

from carillon.kit.database import open_database
from carillon.kit.embedded_postgres.ports import free_port
from carillon.kit.errors import Unavailable
from carillon.kit.migrations import migrate, standing, trouble_with
from carillon.running_apart import looking_at_schema, troubles
from carillon.services import SERVICES
from tests.support.platform import CARILLON, clean_environment
from tests.support.servers import PostgresServer
from tests.support.waiting import eventually

TEMPLATES = Path(__file__).parents[3] / "src/carillon/templates/migrations"
FIRST, NEWEST = "0001", max(path.name.partition("_")[0] for path in (TEMPLATES / "versions").glob("*.py"))
_EVERYTHING = """
SELECT array_agg(c.oid::text || c.relname || coalesce(c.relacl::text, '') ORDER BY c.oid) || (
    SELECT array_agg(nspname::text ORDER BY nspname) FROM pg_namespace WHERE nspname NOT LIKE 'pg_%'
) FROM pg_class c WHERE c.relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname LIKE 'pg_%')
"""


def release(folder: Path, *, without: str = "", more: str = "") -> Path:
    """The migrations of a release that lacks a revision, or has one more."""
    shutil.copytree(
        TEMPLATES, folder, ignore=shutil.ignore_patterns(f"{without}_*.py" if without else "", "__pycache__")
    )
    if more:
        text = f'from alembic import op\nrevision, down_revision = "{more}", "{NEWEST}"\n'
        text += 'def upgrade():\n    op.execute("CREATE TABLE templates.words (word text)")\n'
        (folder / "versions" / f"{more}_words.py").write_text(text)
    return folder


@asynccontextmanager
async def asking(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn, timeout=10, command_timeout=20)
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


async def test_a_schema_as_this_release_needs_it_is_no_trouble(database: str) -> None:
    await migrate(database, "templates", TEMPLATES)

    assert await trouble_with(database, "templates", TEMPLATES) == ""


async def test_one_that_was_never_migrated_is_told_and_stays_as_it_is(database: str) -> None:
    async with asking(database) as connection:
        before = await connection.fetchval(_EVERYTHING)

        told = await trouble_with(database, "templates", TEMPLATES)

        assert await connection.fetchval(_EVERYTHING) == before
    assert told == f"behind, without tables of ours; this release needs {NEWEST}. Run `carillon migrate`."


async def test_one_that_was_migrated_in_part_is_told_with_both_revisions(database: str, tmp_path: Path) -> None:
    await migrate(database, "templates", release(tmp_path / "older", without=NEWEST))

    told = await trouble_with(database, "templates", TEMPLATES)

    assert told == f"behind, at {FIRST}; this release needs {NEWEST}. Run `carillon migrate`."


async def test_one_that_a_newer_release_migrated_is_told_and_left_alone_by_a_migration(
    database: str, tmp_path: Path
) -> None:
    await migrate(database, "templates", release(tmp_path / "newer", more="0099"))

    told = await trouble_with(database, "templates", TEMPLATES)
    await migrate(database, "templates", TEMPLATES)

    assert told.startswith(f"ahead, at 0099; this release knows {NEWEST}. A newer release was here.")
    assert (await standing(database, "templates", TEMPLATES)).found == "0099"


async def test_a_database_that_does_not_exist_is_told_without_the_password(postgres_server: PostgresServer) -> None:
    told = await trouble_with(postgres_server.dsn("nowhere"), "templates", TEMPLATES)

    assert told.startswith('unreachable. PostgreSQL refuses (database "nowhere" does not exist)')
    assert postgres_server.password not in told


async def test_a_server_that_is_not_there_is_told_with_its_address(postgres_server: PostgresServer) -> None:
    port = free_port()

    told = await trouble_with(f"postgresql://bell:s3cret@127.0.0.1:{port}/x", "templates", TEMPLATES)

    assert told.startswith(f"unreachable. PostgreSQL at 127.0.0.1:{port}, for the schema templates, cannot be reached")
    assert "s3cret" not in told


async def test_a_role_that_may_not_read_the_schema_is_told_so(database: str, postgres_server: PostgresServer) -> None:
    await migrate(database, "templates", TEMPLATES)
    name = database.rpartition("/")[2]
    async with asking(database) as connection:
        await connection.execute(f"CREATE ROLE stranger_{name} LOGIN PASSWORD 'p'")

        stranger = postgres_server.dsn(name, user=f"stranger_{name}", password="p")
        told = await trouble_with(stranger, "templates", TEMPLATES)

        await connection.execute(f"DROP ROLE stranger_{name}")
    assert told.startswith("unreachable. PostgreSQL refuses (permission denied for schema templates)")


@pytest.mark.parametrize("dsn", ["postgresql://bell:s3cret@host:many/x", "postgresql://u:s3cret@[::1/x"])
async def test_an_address_that_is_none_is_told_without_what_it_says(dsn: str) -> None:
    told = await trouble_with(dsn, "templates", TEMPLATES)

    assert told.startswith("unreachable. Its URL cannot be used (")
    assert "s3cret" not in told


async def test_a_service_whose_tables_were_never_made_is_not_ready_and_says_what_to_do(database: str) -> None:
    async with open_database(database, name="templates") as opened:
        with pytest.raises(Unavailable, match="run `carillon migrate`"):
            await opened.ping()
        await migrate(database, "templates", TEMPLATES)

        await opened.ping()


async def test_all_schemas_are_looked_at_and_each_that_differs_has_its_line(
    database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in _environment(database, tmp_path).items():
        monkeypatch.setenv(name, value)
    for name, entry in SERVICES.items():
        if name != "users":
            await migrate(database, name, TEMPLATES.parents[1] / entry.schema / "migrations")

    told = await troubles()

    assert [line.partition(",")[0] for line in told] == ["users: behind", "broker: behind"]
    assert all(line.endswith("Run `carillon migrate`.") for line in told)


async def test_a_service_that_starts_on_other_tables_says_so_once_and_runs(database: str, tmp_path: Path) -> None:
    await migrate(database, "templates", release(tmp_path / "older", without=NEWEST))
    settings = SimpleNamespace(database_url=database)

    with capture_logs() as told:
        async with looking_at_schema(SERVICES["templates"], settings):
            await eventually(lambda: told)

    assert [(line["event"], line["service"], line["log_level"]) for line in told] == [
        ("schema_differs", "templates", "warning")
    ]
    assert told[0]["says"].startswith(f"behind, at {FIRST}; this release needs {NEWEST}.")


def _environment(dsn: str, folder: Path) -> Mapping[str, str]:
    names = ("USERS_URL", "TEMPLATES_URL", "GATEWAY_URL", "PUBLIC_URL", "FCM_URL")
    return {
        **{f"CARILLON_{name}": "http://127.0.0.1:9" for name in names},
        "CARILLON_DATABASE_URL": dsn,
        "CARILLON_BROKER_URL": dsn,
        "CARILLON_SMTP_URL": "smtp://127.0.0.1:9?tls=none",
        "CARILLON_SIGNING_KEY_FILE": str(folder / "signing_key.pem"),
        "CARILLON_ENCRYPTION_KEY_FILE": str(folder / "encryption.key"),
        "CARILLON_SERVICE_ACCOUNT_FILE": str(folder / "account.json"),
        "CARILLON_TOKEN_FILE": str(folder / "token"),
    }


async def test_a_broker_s_url_that_means_nothing_is_a_line_among_the_others(
    database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    odd = f"{database}?sslmode=bogus"
    for name, value in {**_environment(database, tmp_path), "CARILLON_BROKER_URL": odd}.items():
        monkeypatch.setenv(name, value)

    told = await troubles()

    assert [line.partition(":")[0] for line in told] == [*SERVICES, "broker"]
    assert told[-1].startswith("broker: unreachable. the URL of the broker's database cannot be used")


def test_the_command_ends_with_1_and_a_line_for_each_that_cannot_be_reached(tmp_path: Path) -> None:
    nowhere = f"postgresql://bell:s3cret@127.0.0.1:{free_port()}/x"
    command = [*CARILLON, "migrate", "--check", "--data-dir", str(tmp_path)]

    ended = subprocess.run(
        command, env=clean_environment(**_environment(nowhere, tmp_path)), capture_output=True, text=True, timeout=60
    )

    assert ended.returncode == 1
    assert [line.partition(".")[0] for line in ended.stdout.splitlines()] == [
        f"{name}: unreachable" for name in (*SERVICES, "broker")
    ]
    assert "s3cret" not in ended.stdout + ended.stderr
    assert [*tmp_path.iterdir()] == []
