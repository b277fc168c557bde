"""A service's own PostgreSQL: one asyncpg pool, every statement bounded in time, outages told as `Unavailable`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import asyncpg
import msgspec

from carillon.kit.errors import Unavailable
from carillon.kit.telemetry.metrics import DATABASE_AWAY, DATABASE_CONNECTIONS, Watched

Connection: TypeAlias = Any
"""asyncpg is untyped: a connection, or a pool's proxy of one."""
Row: TypeAlias = Any
"""An `asyncpg.Record`."""

_STATEMENT_SECONDS = 10

AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.TransactionRollbackError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
    asyncpg.InternalServerError,
    asyncpg.InternalClientError,
)
"""What asyncpg raises when the server, not the statement, is to blame: gone, a standby, full, locked, another password.

Whoever works through a queue waits then. What is raised as anything else counts against the message in hand."""


class Database:
    """A pool that opens when it can: a service whose database is away starts, and answers 503 until it is back."""

    def __init__(self, dsn: str, *, name: str, size: int = 5) -> None:
        self._dsn = dsn
        self._name = name
        self._size = size
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()
        self._away = DATABASE_AWAY.labels(name)
        self._watched = Watched(DATABASE_CONNECTIONS, name, self._connections)

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection from the pool. Raises Unavailable when there is none in time or it is lost on the way."""
        try:
            pool = self._pool or await self._open()
            async with pool.acquire(timeout=5) as connection:
                try:
                    yield connection
                except asyncpg.InternalClientError:  # the server died while it spoke: this connection is past use
                    connection.terminate()
                    raise
        except asyncpg.InterfaceError as error:
            if isinstance(error, ValueError):  # a value that its column cannot take: the caller's doing, not an outage
                raise
            raise self._unavailable(error) from error
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.InvalidSchemaNameError) as error:
            raise Unavailable(f"The tables of {self._name} are missing or old: run `carillon migrate`.") from error
        except AWAY as error:
            raise self._unavailable(error) from error
        except asyncpg.PostgresError as error:
            error.detail = None  # it quotes the row: no address may end in a log
            raise

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection inside one transaction: committed when the block ends, rolled back when it raises."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def fetch(self, sql: str, *arguments: Any) -> list[Row]:
        async with self.connection() as connection:
            rows: list[Row] = await connection.fetch(sql, *arguments)
            return rows

    async def fetchrow(self, sql: str, *arguments: Any) -> Row | None:
        async with self.connection() as connection:
            row: Row | None = await connection.fetchrow(sql, *arguments)
            return row

    async def fetchval(self, sql: str, *arguments: Any) -> Any:
        async with self.connection() as connection:
            return await connection.fetchval(sql, *arguments)

    async def execute(self, sql: str, *arguments: Any) -> str:
        async with self.connection() as connection:
            tag: str = await connection.execute(sql, *arguments)
            return tag

    async def ping(self) -> None:
        """Raises Unavailable where nobody answers, and where nothing was ever migrated: no request could be served."""
        await self.fetchval(f'SELECT max(version_num) FROM "{self._name}".alembic_version')  # noqa: S608 - our own name

    async def close(self) -> None:
        if self._pool is not None:
            with contextlib.suppress(asyncpg.InterfaceError, *AWAY):
                async with asyncio.timeout(5):
                    await self._pool.close()
            self._pool.terminate()

    def _unavailable(self, error: BaseException) -> Unavailable:
        self._away.inc()
        return Unavailable(f"The database of {self._name} is away: {type(error).__name__}.")

    def _connections(self) -> dict[str, float]:
        pool = self._pool
        size, idle = (0, 0) if pool is None else (pool.get_size(), pool.get_idle_size())
        return {"idle": idle, "busy": size - idle, "most": self._size}

    async def _open(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._dsn,
                    min_size=1,
                    max_size=self._size,
                    timeout=5,
                    command_timeout=_STATEMENT_SECONDS,
                    init=_teach_json,
                    reset=_keep_session,
                    server_settings={
                        "application_name": f"carillon-{self._name}",
                        "statement_timeout": str(_STATEMENT_SECONDS * 1000),
                        "idle_in_transaction_session_timeout": "60000",
                    },
                )
            return self._pool


async def _keep_session(_connection: Connection) -> None:
    """Spare the round trip of a reset after every statement: none of ours changes its session beyond a transaction."""


async def _teach_json(connection: Connection) -> None:
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(
            kind,
            schema="pg_catalog",
            encoder=lambda value: msgspec.json.encode(value).decode(),
            decoder=msgspec.json.decode,
        )


@contextlib.asynccontextmanager
async def open_database(dsn: str, *, name: str, size: int = 5) -> AsyncIterator[Database]:
    """`dsn` is `postgresql://…`; `name` shows in pg_stat_activity; `size` bounds the pool."""
    database = Database(dsn, name=name, size=size)
    try:
        yield database
    finally:
        await database.close()
