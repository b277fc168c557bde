"""Indexes on tables that are written to meanwhile: no writer waits for the building, and a crash in it is made good."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from alembic import op
from sqlalchemy import text

_IS_VALID = """
SELECT i.indisvalid FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace s ON s.oid = c.relnamespace
WHERE s.nspname = :schema AND c.relname = :name
"""
_IS_PARTITIONED = """
SELECT c.relkind = 'p' FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
WHERE s.nspname = :schema AND c.relname = :table
"""
_WITHOUT_IT = """
SELECT p.relname FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhrelid
WHERE h.inhparent = CAST(:table AS regclass) AND NOT EXISTS (
    SELECT FROM pg_index i JOIN pg_inherits of ON of.inhrelid = i.indexrelid
    WHERE i.indrelid = p.oid AND of.inhparent = CAST(:name AS regclass)
)
ORDER BY p.relname
"""


@dataclass(frozen=True, slots=True)
class Index:
    """`of` is what follows the table's name: `(columns) WHERE …`."""

    name: str
    table: str
    of: str


def beside_the_writers(work: Callable[[Any], None]) -> None:
    """Run `work` outside any transaction, with the connection: what it does before a crash stays, so it must be able
    to go on from there. A revision that needs this does nothing else.
    """
    with op.get_context().autocommit_block():
        work(op.get_bind())


def build_indexes(schema: str, indexes: Sequence[Index]) -> None:
    """Each that is not there yet, whole; one that an earlier try left unfinished is built anew."""

    def build(connection: Any) -> None:
        for index in indexes:
            _build(connection, schema, index)

    beside_the_writers(build)


def _build(connection: Any, schema: str, index: Index) -> None:
    if not _one(connection, _IS_PARTITIONED, schema=schema, table=index.table):
        _alone(connection, schema, index)
        return
    there = _one(connection, _IS_VALID, schema=schema, name=index.name)
    if there is None:  # as yet of no partition: those that are made from now on bring theirs
        connection.execute(text(f'CREATE INDEX "{index.name}" ON ONLY "{schema}"."{index.table}" {index.of}'))
    if not there:
        _in_partitions(connection, schema, index)


def _in_partitions(connection: Any, schema: str, index: Index) -> None:
    """The index of the whole is valid once that of the last partition is attached."""
    whole, table = f'"{schema}"."{index.name}"', f'"{schema}"."{index.table}"'
    for (partition,) in connection.execute(text(_WITHOUT_IT), {"table": table, "name": whole}).all():
        own = Index(index.name + partition.removeprefix(index.table), partition, index.of)
        _alone(connection, schema, own)
        connection.execute(text(f'ALTER INDEX {whole} ATTACH PARTITION "{schema}"."{own.name}"'))


def _alone(connection: Any, schema: str, index: Index) -> None:
    there = _one(connection, _IS_VALID, schema=schema, name=index.name)
    if there:
        return
    # Waiting for older transactions blocks nobody, so it may last: the bound is for what makes others wait.
    connection.execute(text("SET lock_timeout = 0"))
    if there is not None:
        connection.execute(text(f'DROP INDEX CONCURRENTLY "{schema}"."{index.name}"'))
    connection.execute(text(f'CREATE INDEX CONCURRENTLY "{index.name}" ON "{schema}"."{index.table}" {index.of}'))
    connection.execute(text("RESET lock_timeout"))


def _one(connection: Any, sql: str, **given: str) -> Any:
    return connection.scalar(text(sql), given)
