"""The broker's own schema `broker`, brought up to date by `migrate_broker`; running it again changes nothing."""

import asyncpg

from carillon.kit.broker.port import BrokerUnavailable

ADVISORY_LOCK = 0x6361_7262_726F_6B31
TIMEOUT = 30.0

# visible_at is when a message may be claimed: the time of publishing, the end of a retry's delay or of a lease.
# The statistics of a queue are always wrong (it is mostly empty), so they are not collected; the connections of the
# adapter make the plan certain instead. Dead rows are swept early, without handing pages back to the file system
# (which would lock the table).
MIGRATIONS = (
    """
    CREATE TABLE broker.messages (
        seq          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        queue        text        NOT NULL,
        visible_at   timestamptz NOT NULL DEFAULT now(),
        published_at timestamptz NOT NULL DEFAULT now(),
        lease        bigint,
        deliveries   integer     NOT NULL DEFAULT 0,
        id           uuid        NOT NULL,
        headers      text        NOT NULL,
        body         bytea       NOT NULL
    ) WITH (
        autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_scale_factor = 0,
        autovacuum_vacuum_insert_threshold = -1,
        autovacuum_analyze_threshold = 2000000000,
        autovacuum_vacuum_cost_delay = 0,
        vacuum_truncate = false,
        toast.autovacuum_vacuum_threshold = 5000,
        toast.autovacuum_vacuum_scale_factor = 0,
        toast.vacuum_truncate = false
    );
    CREATE INDEX messages_claim ON broker.messages (queue, visible_at);
    """,
)


async def migrate_broker(dsn: str) -> None:
    """Create or update the schema `broker`; raises `BrokerUnavailable` when the database cannot be reached."""
    connection = await _connected(dsn)
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", ADVISORY_LOCK)
            await _migrate(connection)
    finally:
        await connection.close(timeout=5)


async def _connected(dsn: str) -> asyncpg.Connection:
    try:
        return await asyncpg.connect(dsn, timeout=TIMEOUT, command_timeout=TIMEOUT)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise BrokerUnavailable(f"the broker's database cannot be reached: {error}") from error
    except (ValueError, asyncpg.InterfaceError) as error:  # its sentence may quote a password
        raise BrokerUnavailable(f"the URL of the broker's database cannot be used ({type(error).__name__})") from None


async def _migrate(connection: asyncpg.Connection) -> None:
    # CREATE SCHEMA IF NOT EXISTS asks for the right to create even when the schema is there.
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'broker')"):
        await connection.execute("CREATE SCHEMA broker")
    await connection.execute("CREATE TABLE IF NOT EXISTS broker.schema_version (version integer PRIMARY KEY)")
    done = await connection.fetchval("SELECT coalesce(max(version), 0) FROM broker.schema_version")
    for version, script in enumerate(MIGRATIONS[done:], start=done + 1):
        await connection.execute(script)
        await connection.execute("INSERT INTO broker.schema_version VALUES ($1)", version)


async def broker_version(dsn: str) -> int:
    """How many of `MIGRATIONS` the schema has had, 0 where there is none. Raises `BrokerUnavailable`."""
    connection = await _connected(dsn)
    try:
        version: int = await connection.fetchval("SELECT coalesce(max(version), 0) FROM broker.schema_version")
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return 0
    except asyncpg.PostgresError as error:
        raise BrokerUnavailable(f"the broker's database refuses: {error}") from error
    else:
        return version
    finally:
        await connection.close(timeout=5)


async def end_leases(dsn: str) -> None:
    """Make every message in hand visible at once: for the caller who knows that its former consumers are all dead."""
    connection = await asyncpg.connect(dsn, timeout=TIMEOUT, command_timeout=TIMEOUT)
    try:
        await connection.execute(
            "UPDATE broker.messages SET lease = NULL, visible_at = now() WHERE lease IS NOT NULL AND visible_at > now()"
        )
    finally:
        await connection.close(timeout=5)
