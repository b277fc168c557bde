"""What only the PostgreSQL adapter can get wrong: leases, plans, its schema, the size of an announcement."""

import asyncio
import os
import signal
from collections.abc import Sequence
from dataclasses import replace

import asyncpg
import pytest

from carillon.kit.broker.port import (
    Broker,
    BrokerUnavailable,
    Delivery,
    Done,
    Message,
    Outcome,
    PublishFailed,
    RetryAfter,
)
from carillon.kit.broker.postgres.schema import migrate_broker
from carillon.kit.broker.postgres.store import CLAIM, SESSION
from tests.support.brokers import BRISK, Ground, Inbox, consuming, line_of, slow_consumer
from tests.support.postgres import PostgresServer
from tests.support.waiting import eventually

HASTY = replace(BRISK, lease=0.6)


async def test_a_frozen_consumer_whose_lease_has_lapsed_cannot_settle_the_claim_of_another(postgresql: Ground) -> None:
    """The frozen one says Done when it wakes; the other has the message by then and wants it retried."""
    holding, release = asyncio.Event(), asyncio.Event()
    seen: list[Delivery] = []

    async def handle(batch: Sequence[Delivery]) -> Sequence[Outcome]:
        seen.extend(batch)
        if len(seen) > 1:
            return [Done() for _ in batch]
        holding.set()
        await release.wait()
        return [RetryAfter(0.05, "not yet") for _ in batch]

    async with postgresql.open(HASTY) as broker, slow_consumer(postgresql, HASTY) as frozen:
        await broker.publish([Message(postgresql.work, b"contested")])
        assert await line_of(frozen) == ["holds", "contested"]
        os.kill(frozen.pid, signal.SIGSTOP)
        async with consuming(broker, postgresql.work, handle):
            await asyncio.wait_for(holding.wait(), 20)

            os.kill(frozen.pid, signal.SIGCONT)
            assert frozen.stdin is not None
            frozen.stdin.write(b"finish\n")
            await frozen.stdin.drain()
            assert await line_of(frozen) == ["finished"]
            await asyncio.wait_for(frozen.wait(), 20)  # it has tried to settle
            release.set()

            await eventually(lambda: len(seen) == 2, says="the retry of the rightful claim")

    assert seen[0].redelivered
    assert seen[1].headers["x-carillon-reason"] == "not yet"


async def test_a_handler_that_takes_longer_than_the_lease_keeps_its_messages(postgresql: Ground) -> None:
    started, finish = asyncio.Event(), asyncio.Event()
    first: list[Delivery] = []

    async def slow(batch: Sequence[Delivery]) -> Sequence[Outcome]:
        first.extend(batch)
        started.set()
        await finish.wait()
        return [Done() for _ in batch]

    greedy = Inbox()
    async with postgresql.open(HASTY) as one, postgresql.open(HASTY) as two:
        await one.publish([Message(postgresql.work, b"slow")])
        async with consuming(one, postgresql.work, slow):
            await asyncio.wait_for(started.wait(), 10)
            async with consuming(two, postgresql.work, greedy):
                await _until_renewed(postgresql.url, times=5)
                finish.set()
                await eventually(lambda: _count(postgresql.url, 0))

    assert len(first) == 1
    assert greedy.deliveries == []


async def _until_renewed(dsn: str, *, times: int) -> None:
    """Wait until the one message's lease was pushed out `times` times: longer than the lease by then."""
    connection = await asyncpg.connect(dsn)
    ends: set[object] = set()

    async def look() -> bool:
        ends.add(await connection.fetchval("SELECT visible_at FROM broker.messages"))
        return len(ends) > times

    try:
        await eventually(look)
    finally:
        await connection.close()


async def _count(dsn: str, expected: int) -> bool:
    connection = await asyncpg.connect(dsn)
    try:
        return bool(await connection.fetchval("SELECT count(*) FROM broker.messages") == expected)
    finally:
        await connection.close()


async def test_claiming_uses_the_index_with_a_backlog_that_the_statistics_deny(postgresql: Ground) -> None:
    connection = await asyncpg.connect(postgresql.url, server_settings=SESSION)
    await connection.execute("ANALYZE broker.messages")  # learns that the queue is empty, as it mostly is
    await connection.execute(
        "INSERT INTO broker.messages (queue, id, headers, body)"
        " SELECT 'work', gen_random_uuid(), '{}', 'x' FROM generate_series(1, 60000)"
    )
    claim = CLAIM.replace("$1", "'work'").replace("$2", "50").replace("$3", "30").replace("$4", "1")

    plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN ANALYZE {claim}"))

    assert "Index Scan using messages_claim" in plan
    assert "Index Scan using messages_pkey" in plan
    assert "Seq Scan" not in plan
    assert "Sort" not in plan
    assert await connection.fetchval("SELECT count(*) FROM broker.messages WHERE lease = 1") == 50
    await connection.close()


async def test_concurrent_claims_take_exactly_what_they_ask_for(postgresql: Ground) -> None:
    sizes: list[int] = []
    release = asyncio.Event()

    async def handle(batch: Sequence[Delivery]) -> Sequence[Outcome]:
        sizes.append(len(batch))
        await release.wait()
        return [Done() for _ in batch]

    async with postgresql.open() as broker:
        await broker.publish([Message(postgresql.work, b"") for _ in range(400)])
        async with (
            consuming(broker, postgresql.work, handle, size=10, in_flight=10),
            consuming(broker, postgresql.work, handle, size=10, in_flight=10),
        ):
            await eventually(lambda: len(sizes) == 20)
            depth = (await broker.depths())[postgresql.work]
            release.set()

    assert sizes[:20] == [10] * 20
    assert (depth.ready, depth.in_flight) == (200, 200)


async def test_a_retry_waits_exactly_its_delay_and_counts_as_delayed_meanwhile(postgresql: Ground) -> None:
    async with postgresql.open() as broker:
        async with consuming(broker, postgresql.work, Inbox(lambda _: RetryAfter(600, "much later"))):
            await broker.publish([Message(postgresql.work, b"")])
            await eventually(lambda: _delayed(broker, postgresql.work))
        connection = await asyncpg.connect(postgresql.url)
        left = await connection.fetchval("SELECT extract(epoch FROM visible_at - now()) FROM broker.messages")
        await connection.close()

    assert 540 < left <= 600


async def _delayed(broker: Broker, queue: str) -> bool:
    return (await broker.depths())[queue].delayed == 1


async def test_a_database_without_the_schema_is_unavailable_and_says_what_to_run(
    postgres_server: PostgresServer, postgresql: Ground
) -> None:
    empty = await postgres_server.create_database()

    async with postgresql.open(url=empty) as broker:
        with pytest.raises(BrokerUnavailable, match="carillon migrate"):
            await broker.ping()
        with pytest.raises(PublishFailed, match="carillon migrate"):
            await broker.publish([Message(postgresql.work, b"")])

    await postgres_server.drop_database(empty)


async def test_migrating_at_the_same_time_and_again_changes_nothing(postgres_server: PostgresServer) -> None:
    dsn = await postgres_server.create_database()

    await asyncio.gather(*(migrate_broker(dsn) for _ in range(5)))
    await migrate_broker(dsn)

    connection = await asyncpg.connect(dsn)
    assert await connection.fetch("SELECT version FROM broker.schema_version") == [(1,)]
    await connection.close()
    await postgres_server.drop_database(dsn)


async def test_a_role_that_owns_the_schema_but_may_not_create_one_can_migrate(postgres_server: PostgresServer) -> None:
    dsn = await postgres_server.create_database()
    role = f"broker_{os.urandom(4).hex()}"
    owner = await asyncpg.connect(dsn)
    await owner.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'; CREATE SCHEMA broker AUTHORIZATION {role}")
    own = postgres_server.dsn(dsn.rpartition("/")[2], user=role, password="secret")

    await migrate_broker(own)

    assert await owner.fetchval("SELECT count(*) FROM broker.messages") == 0
    await owner.close()
    await postgres_server.drop_database(dsn)


async def test_an_announcement_too_large_for_postgresql_is_refused_with_the_bound(postgresql: Ground) -> None:
    async with postgresql.open() as broker:
        with pytest.raises(ValueError, match="at most 5999 bytes"):
            await broker.announce("topic", b"x" * 6_001)
        await broker.announce("topic", b"x" * 5_997)
