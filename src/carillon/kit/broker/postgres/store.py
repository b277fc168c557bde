"""Every SQL statement of the PostgreSQL broker."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import asyncpg
import msgspec

from carillon.kit.broker.port import BrokerUnavailable, Message, QueueDepth

T = TypeVar("T")

TROUBLE = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""What a statement raises when the server is away, restarting, or refuses."""

SESSION = {
    # A queue's statistics are always wrong, so the plan is made certain: the claim index, the primary key.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_sort": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    "synchronous_commit": "on",  # the promise of publish, whatever the server's default
}

PUBLISH = """
INSERT INTO broker.messages (queue, id, headers, body)
SELECT * FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bytea[])
"""

# = ANY(ARRAY(...)) and not IN (...): the latter can be evaluated again and claim more than it should.
CLAIM = """
UPDATE broker.messages
SET visible_at = now() + $3 * interval '1 second', lease = $4, deliveries = deliveries + 1
WHERE seq = ANY(ARRAY(
    SELECT seq FROM broker.messages
    WHERE queue = $1 AND visible_at <= now()
    ORDER BY visible_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
))
RETURNING seq, id, headers, body, deliveries, published_at
"""

# A consumer that was frozen past its lease finds another's lease here and changes nothing.
FINISH = "DELETE FROM broker.messages WHERE seq = ANY($2::bigint[]) AND lease = $1"

SETTLE = """
WITH done AS (
    DELETE FROM broker.messages WHERE seq = ANY($2::bigint[]) AND lease = $1 RETURNING seq
), moved AS (
    UPDATE broker.messages AS message
    SET queue = outcome.queue, headers = outcome.headers, lease = NULL, deliveries = 0,
        visible_at = now() + outcome.delay * interval '1 second'
    FROM unnest($3::bigint[], $4::text[], $5::text[], $6::float8[]) AS outcome (seq, queue, headers, delay)
    WHERE message.seq = outcome.seq AND message.lease = $1
    RETURNING message.seq
)
SELECT (SELECT count(*) FROM done) + (SELECT count(*) FROM moved)
"""

RELEASE = """
UPDATE broker.messages
SET lease = NULL, visible_at = now() + $3 * interval '1 second', deliveries = deliveries - $4
WHERE seq = ANY($2::bigint[]) AND lease = $1
"""

RENEW = """
UPDATE broker.messages AS message
SET visible_at = now() + $3 * interval '1 second'
FROM unnest($1::bigint[], $2::bigint[]) AS held (seq, lease)
WHERE message.seq = held.seq AND message.lease = held.lease
"""

DEPTHS = """
SELECT queue,
       count(*) FILTER (WHERE visible_at <= now()) AS ready,
       count(*) FILTER (WHERE visible_at > now() AND lease IS NOT NULL) AS in_flight,
       count(*) FILTER (WHERE visible_at > now() AND lease IS NULL) AS delayed,
       extract(epoch FROM now() - min(visible_at) FILTER (WHERE visible_at <= now()))::float8 AS oldest_age_seconds
FROM broker.messages
WHERE queue = ANY($1::text[])
GROUP BY queue
"""

LENGTHS = """
SELECT asked.queue, (
    SELECT count(*) FROM (
        SELECT FROM broker.messages m WHERE m.queue = asked.queue AND m.visible_at <= now() LIMIT $2
    ) AS ready
)
FROM unnest($1::text[]) AS asked (queue)
"""


@dataclass(frozen=True, slots=True)
class Claimed:
    """One row of a claim; `deliveries` counts this one."""

    seq: int
    id: UUID
    headers: dict[str, str]
    body: bytes
    deliveries: int
    published_at: datetime


@dataclass(frozen=True, slots=True)
class Claim:
    """What one statement leased: settled only as long as `lease` is still the rows'."""

    queue: str
    lease: int
    rows: Sequence[Claimed]

    @property
    def seqs(self) -> list[int]:
        return [row.seq for row in self.rows]


@dataclass(frozen=True, slots=True)
class Move:
    """Where a message goes instead of away, and after how many seconds it may be claimed there."""

    seq: int
    queue: str
    headers: Mapping[str, str]
    delay: float


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, str]).decode


def encode_headers(headers: Mapping[str, str]) -> str:
    return _encode(dict(headers)).decode() if headers else "{}"


class MessageStore:
    """The statements, each on a pooled connection and with a timeout."""

    def __init__(self, pool: asyncpg.Pool, *, acquire_timeout: float, statement_timeout: float) -> None:
        self._pool = pool
        self._acquire_timeout = acquire_timeout
        self._timeout = statement_timeout

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """Lend a connection; raises `BrokerUnavailable` when there is none to be had, and only then."""
        try:
            connection = await self._pool.acquire(timeout=self._acquire_timeout)
        except TROUBLE as error:
            raise unavailable(error) from error
        try:
            yield connection
        except asyncpg.InternalClientError:  # the server died while it spoke: this connection is past use
            connection.terminate()
            raise
        finally:
            with suppress(*TROUBLE):  # the pool replaces a connection that it cannot take back
                await self._pool.release(connection, timeout=self._acquire_timeout)

    async def publish(self, connection: asyncpg.Connection, messages: Sequence[Message]) -> None:
        await connection.execute(
            PUBLISH,
            [message.queue for message in messages],
            [message.message_id for message in messages],
            [encode_headers(message.headers) for message in messages],
            [message.body for message in messages],
            timeout=self._timeout,
        )

    async def claim(self, queue: str, size: int, *, lease_seconds: float) -> Claim | None:
        lease = secrets.randbits(63)
        async with self.connection() as connection:
            rows = await _told(connection.fetch(CLAIM, queue, size, lease_seconds, lease, timeout=self._timeout))
        if not rows:
            return None
        return Claim(queue, lease, [_claimed(row) for row in rows])

    async def settle(self, claim: Claim, done: Sequence[int], moves: Sequence[Move]) -> int:
        """Apply the outcomes of one claim in one round trip; returns how many rows were still ours."""
        async with self.connection() as connection:
            if not moves:
                status = await _told(connection.execute(FINISH, claim.lease, done, timeout=self._timeout))
                return int(status.rpartition(" ")[2])
            return int(
                await _told(
                    connection.fetchval(
                        SETTLE,
                        claim.lease,
                        done,
                        [move.seq for move in moves],
                        [move.queue for move in moves],
                        [encode_headers(move.headers) for move in moves],
                        [move.delay for move in moves],
                        timeout=self._timeout,
                    )
                )
            )

    async def release(self, claim: Claim, *, delay: float, uncount: bool) -> None:
        """Hand rows back before their lease ends; `uncount` when nobody has seen them."""
        async with self.connection() as connection:
            await _told(
                connection.execute(RELEASE, claim.lease, claim.seqs, delay, int(uncount), timeout=self._timeout)
            )

    async def renew(self, seqs: Sequence[int], leases: Sequence[int], *, lease_seconds: float) -> int:
        async with self.connection() as connection:
            status = await _told(connection.execute(RENEW, seqs, leases, lease_seconds, timeout=self._timeout))
        return int(status.rpartition(" ")[2])

    async def depths(self, queues: Sequence[str]) -> dict[str, QueueDepth]:
        async with self.connection() as connection:
            rows = await _told(connection.fetch(DEPTHS, list(queues), timeout=self._timeout))
        known = {row["queue"]: QueueDepth(*list(row)[1:]) for row in rows}
        return {queue: known.get(queue, QueueDepth(0, 0, 0, None)) for queue in queues}

    async def lengths(self, queues: Sequence[str], most: int) -> dict[str, int]:
        async with self.connection() as connection:
            rows = await _told(connection.fetch(LENGTHS, list(queues), most, timeout=self._timeout))
        return {row[0]: row[1] for row in rows}

    async def notify(self, channel: str, payload: str) -> None:
        async with self.connection() as connection:
            await _told(connection.execute("SELECT pg_notify($1, $2)", channel, payload, timeout=self._timeout))

    async def ping(self) -> None:
        async with self.connection() as connection:
            await _told(connection.execute("SELECT 1 FROM broker.messages LIMIT 0", timeout=self._timeout))


def unavailable(error: BaseException) -> BrokerUnavailable:
    """Say what is wrong with the database, and what to do when it is the schema that is missing."""
    if isinstance(error, asyncpg.UndefinedTableError | asyncpg.InvalidSchemaNameError):
        return BrokerUnavailable("the broker's tables are missing in this database: run `carillon migrate`")
    return BrokerUnavailable(f"the broker's database does not answer: {str(error) or type(error).__name__}")


async def _told(statement: Awaitable[T]) -> T:
    try:
        return await statement
    except TROUBLE as error:
        raise unavailable(error) from error


def _claimed(row: asyncpg.Record) -> Claimed:
    return Claimed(row["seq"], row["id"], _decode(row["headers"]), row["body"], row["deliveries"], row["published_at"])
