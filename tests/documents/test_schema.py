"""The entity diagrams of the architecture show the tables that the migrations really make, column by column."""

import re
from pathlib import Path

import asyncpg

from carillon.kit.migrations import migrate
from tests.documents.reading import ROOT, document

SERVICES = ("users", "templates", "gateway", "email_worker", "push_worker")
_ENTITY = re.compile(r'^\s*"(?P<table>[a-z_]+\.[a-z_]+)" \{\n(?P<columns>.*?)^\s*\}', re.DOTALL | re.MULTILINE)
_COLUMNS = """
WITH keys AS (
    SELECT conrelid, contype, unnest(conkey) AS attnum FROM pg_constraint
    WHERE contype IN ('p', 'f') OR contype = 'u' AND cardinality(conkey) = 1
)
SELECT n.nspname || '.' || c.relname AS table_name, a.attname AS column_name,
       replace(format_type(a.atttypid, a.atttypmod), 'timestamp with time zone', 'timestamptz') AS type,
       ARRAY(SELECT DISTINCT contype::text FROM keys WHERE conrelid = c.oid AND keys.attnum = a.attnum) AS keys
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
WHERE n.nspname = ANY($1::text[]) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND c.relname <> 'alembic_version' AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY n.nspname, c.relname, a.attnum
"""


async def test_the_entity_diagrams_are_the_tables_that_the_migrations_make(database: str) -> None:
    for service in SERVICES:
        await migrate(database, service, _folder(service))

    made, drawn = await _tables(database), _drawn()

    assert sorted(drawn.keys() - made.keys()) == [], "drawn, but no migration makes them"
    assert drawn == made, f"draw these in docs/architecture.md:\n{_as_entities(made, drawn)}"


def _folder(service: str) -> Path:
    return ROOT / "src/carillon" / service / "migrations"


def _drawn() -> dict[str, list[str]]:
    """Columns by table, each as `type name KEYS`, as the diagrams have them."""
    blocks = document("docs/architecture.md").blocks("mermaid")
    text = "".join(block.text for block in blocks if block.text.startswith("erDiagram"))
    return {
        found["table"]: [" ".join(line.split()) for line in found["columns"].splitlines()]
        for found in _ENTITY.finditer(text)
    }


async def _tables(dsn: str) -> dict[str, list[str]]:
    connection = await asyncpg.connect(dsn, timeout=10, command_timeout=10)
    try:
        rows = await connection.fetch(_COLUMNS, list(SERVICES))
    finally:
        await connection.close(timeout=5)
    tables: dict[str, list[str]] = {}
    for row in rows:
        keys = ", ".join(f"{key.upper()}K" for key in "pfu" if key in row["keys"])
        tables.setdefault(row["table_name"], []).append(f"{row['type']} {row['column_name']} {keys}".strip())
    return tables


def _as_entities(made: dict[str, list[str]], drawn: dict[str, list[str]]) -> str:
    """The tables that differ, in Mermaid, to be pasted."""
    differing = {table: columns for table, columns in made.items() if columns != drawn.get(table)}
    return "\n".join(
        "\n".join([f'    "{table}" {{', *(f"        {column}" for column in columns), "    }"])
        for table, columns in differing.items()
    )
