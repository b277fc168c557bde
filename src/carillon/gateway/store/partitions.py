"""The months that notifications and their events are kept in, made ahead of time."""

from collections.abc import Iterable

from carillon.gateway.domain import Month
from carillon.kit.database import Database

_TABLES = {"notifications": "WITH (fillfactor = 60)", "notification_events": ""}
_KEY = {"notifications": "id", "notification_events": "notification_id"}
_LOCK = 0x0CA7_2110

# Not to_regclass: after waiting for the lock that one may still answer from what its session knew before.
_EXISTS = "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = 'gateway' AND tablename = $1)"

# Made beside and then attached: CREATE TABLE … PARTITION OF would lock out every reader and writer of the whole table.
_CREATE = "CREATE TABLE gateway.{name} (LIKE gateway.{table} INCLUDING ALL) {room}"
_ATTACH = "ALTER TABLE gateway.{table} ATTACH PARTITION gateway.{name} FOR VALUES FROM ('{first}') TO ('{end}')"
# With the bound known as a constraint, attaching has nothing to read through.
_BOUND = "ALTER TABLE gateway.{name} ADD CONSTRAINT {name}_bound CHECK ({key} >= '{first}' AND {key} < '{end}')"
_UNBOUND = "ALTER TABLE gateway.{name} DROP CONSTRAINT {name}_bound"


class Partitions:
    """Makes partitions; safe in every replica at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ensure(self, months: Iterable[Month]) -> list[str]:
        """Make what is missing; answers the names of those made. A month that cannot be had within 2 s raises."""
        made = [await self._ensure(table, month) for month in months for table in _TABLES]
        return [name for name in made if name is not None]

    async def _ensure(self, table: str, month: Month) -> str | None:
        name = f"{table}_{month.name}"
        if await self._exists(name):
            return None
        words = {"name": name, "table": table, "room": _TABLES[table], "key": _KEY[table]}
        words |= {"first": str(month.first), "end": str(month.end)}
        async with self._database.transaction() as connection:
            await connection.execute("SET LOCAL lock_timeout = '2s'")
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            if await connection.fetchval(_EXISTS, name):
                return None
            for statement in (_CREATE, _BOUND, _ATTACH, _UNBOUND):
                await connection.execute(statement.format(**words))
        return name

    async def _exists(self, name: str) -> bool:
        return bool(await self._database.fetchval(_EXISTS, name))
