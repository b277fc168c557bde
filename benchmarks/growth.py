"""Whether a notification costs more where a million are kept: two platforms, one of them grown, asked in turn."""

import asyncio
import os
import statistics
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

import asyncpg
import uvloop

from benchmarks.cpu import family_of, seconds_of
from benchmarks.notifications import await_reports, await_sink, list_first, post_all, posts
from benchmarks.platforms import platform, prepared
from tests.support.platform import Platform

FEW, COPIES, ROUNDS = 1_000, 1_000, 5

# The same copy of an id in every table and database: a second earlier for each, the rest drawn from both.
_COPY_OF = """
CREATE FUNCTION pg_temp.copy_of(id uuid, copy integer) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (
        lpad(to_hex(('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint - copy * 1000), 12, '0')
        || '7' || substr(md5(id::text || copy), 1, 3) || '8' || substr(md5(id::text || copy), 4, 15)
    )::uuid
$$
"""
_IDS = {"notifications": "id", "notification_events": "notification_id", "idempotency_keys": "notification_id"}


@dataclass
class Side:
    """One of the two platforms, and what a notification cost it in each round: seconds of everything's CPU, rate."""

    found: Platform
    sink: int
    code: str
    people: list[str]
    mails: int = 0
    costs: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)


def measure(count: int) -> list[tuple[str, str]]:
    """(figure, value) pairs; `count` notifications in each round."""
    with platform("rabbitmq") as (small, small_sink), platform("rabbitmq") as (great, great_sink):
        sides = [
            Side(found, sink, *prepared(found, 200)[:2]) for found, sink in ((small, small_sink), (great, great_sink))
        ]
        return uvloop.run(_measure(sides, count))


async def _measure(sides: list[Side], count: int) -> list[tuple[str, str]]:
    for side in sides:
        await _send(side, FEW)
    kept = await _grow(sides[1].found)
    for _ in range(ROUNDS):
        for side in sides:
            spent, started = _spent(), time.perf_counter()
            await _send(side, count)
            side.rates.append(count / (time.perf_counter() - started))
            side.costs.append((_spent() - spent) / count)
    few, many = (statistics.median(side.costs) for side in sides)
    return [
        ("notifications kept", f"{FEW:,} and {kept:,}, and {ROUNDS} times {count:,} more"),
        ("CPU of everything a notification, few kept", _figures(sides[0])),
        ("CPU of everything a notification, many kept", _figures(sides[1])),
        ("many to few, medians", f"{many / few:.2f}"),
    ]


def _figures(side: Side) -> str:
    low, middle, high = (1e6 * each for each in (min(side.costs), statistics.median(side.costs), max(side.costs)))
    return f"{middle:,.0f} µs ({low:,.0f} to {high:,.0f}), {statistics.median(side.rates):,.0f}/s"


def _spent() -> float:
    """Everything that descends from this process, and itself: both platforms, of which one rests."""
    return seconds_of(family_of(os.getpid()))


async def _send(side: Side, count: int) -> None:
    """Until the sink has them all and all is told."""
    requests, since = list_first(posts(side.found, side.code, side.people, count)), datetime.now(UTC)
    await post_all(side.found, requests, connections=64)
    side.mails += count
    await await_sink(side.sink, side.mails)
    await await_reports(side.found, since=since)


async def _grow(found: Platform) -> int:
    """Copy what a run has left until a thousand times as much is kept, keys, timelines and claims too."""
    async with asyncio.timeout(900):
        gateway = await _connected(found, "gateway")
        try:
            for table, column in _IDS.items():
                await _copy(gateway, f"gateway.{table}", column, also="request_id")
            kept: int = await gateway.fetchval("SELECT count(*) FROM gateway.notifications")
        finally:
            await gateway.close()
        worker = await _connected(found, "email_worker")
        try:
            await _copy(worker, "email_worker.deliveries", "notification_id")
        finally:
            await worker.close()
    return kept


async def _connected(found: Platform, service: str) -> asyncpg.Connection:
    dsn = found.environments[service][1][f"CARILLON_{service.upper()}_DATABASE_URL"]
    connection = await asyncpg.connect(dsn, command_timeout=600)
    await connection.execute(_COPY_OF)
    return connection


async def _copy(connection: asyncpg.Connection, table: str, column: str, also: str = "") -> None:
    """Each row a thousand times, its id replaced by the copy's, and made unique in `also` if the table has it."""
    names = [
        row[0]
        for row in await connection.fetch(
            "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped", table
        )
    ]
    values = {column: f"pg_temp.copy_of({column}, copy)", also: f"{also} || '-' || copy"}
    await connection.execute(
        f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values.get(name, name) for name in names)} "
        f"FROM {table}, generate_series(1, {COPIES - 1}) AS copy"
    )
    await connection.execute(f"VACUUM (ANALYZE) {table}")
