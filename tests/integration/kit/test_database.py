"""Which failures of a database are an outage, that is waited for, and which are the statement's own."""

import asyncpg
import pytest

from carillon.kit.database import open_database
from carillon.kit.errors import Unavailable

RAISE = "DO $$ BEGIN RAISE EXCEPTION 'told by the test' USING ERRCODE = '{}'; END $$"


@pytest.mark.parametrize(
    "code",
    [
        "08006",  # the connection is lost
        "25006",  # a standby after a failover: read only
        "28P01",  # another password
        "3D000",  # no such database
        "40001",  # serialization
        "40P01",  # deadlock
        "42501",  # no right to the table
        "42P01",  # no such table yet
        "42703",  # no such column yet
        "53100",  # the disk is full
        "53200",  # out of memory
        "55P03",  # locked
        "57014",  # cancelled
        "57P01",  # shutting down
        "58030",  # the disk fails
        "XX000",  # the server's own fault
        "XX001",  # a damaged page
    ],
)
async def test_whatever_the_server_is_to_blame_for_is_an_outage(database: str, code: str) -> None:
    async with open_database(database, name="test", size=1) as opened:
        with pytest.raises(Unavailable):
            await opened.execute(RAISE.format(code))

        assert await opened.fetchval("SELECT 1") == 1


@pytest.mark.parametrize("code", ["22003", "23505", "42601", "P0001"])
async def test_what_the_statement_is_to_blame_for_is_told_as_it_is(database: str, code: str) -> None:
    async with open_database(database, name="test", size=1) as opened:
        with pytest.raises(asyncpg.PostgresError) as told:
            await opened.execute(RAISE.format(code))

    assert told.value.sqlstate == code


async def test_a_server_that_knows_neither_us_nor_the_database_is_away(database: str) -> None:
    for dsn in (f"{database}_gone", database.replace("://", "://nobody_", 1)):
        async with open_database(dsn, name="test", size=1) as opened:
            with pytest.raises(Unavailable):
                await opened.ping()


async def test_a_connection_that_no_longer_understands_its_server_leaves_the_pool(database: str) -> None:
    async with open_database(database, name="test", size=1) as opened:
        before = await opened.fetchval("SELECT pg_backend_pid()")
        with pytest.raises(Unavailable):
            async with opened.connection():
                raise asyncpg.ProtocolError("got an answer to no question")

        assert await opened.fetchval("SELECT pg_backend_pid()") != before


async def test_a_refused_row_is_not_quoted(database: str) -> None:
    async with open_database(database, name="test", size=1) as opened:
        await opened.execute("CREATE TABLE bells (owner text PRIMARY KEY, note text NOT NULL)")
        await opened.execute("INSERT INTO bells VALUES ('ada@example.com', '')")
        for note in ("''", "NULL"):
            with pytest.raises(asyncpg.IntegrityConstraintViolationError) as told:
                await opened.execute(f"INSERT INTO bells VALUES ('ada@example.com', {note})")
            assert "ada" not in str(told.value)
