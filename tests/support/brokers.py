"""Every adapter of the broker port behind one face, so that one suite runs against all of them."""

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from carillon.kit.broker.open import open_broker
from carillon.kit.broker.port import Broker, Delivery, Done, Handler, Outcome, Topology, Tuning
from carillon.kit.broker.postgres.schema import migrate_broker
from tests.support.postgres import PostgresServer
from tests.support.processes import dies_with_parent
from tests.support.rabbitmq import RabbitServer

REPOSITORY = Path(__file__).parents[2]
BRISK = Tuning(connect_timeout=5.0, publish_timeout=10.0, drain_timeout=10.0, lease=2.0, redelivery_delay=0.05)


class Server(Protocol):
    """A server that tests may stop, kill and start again."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def restart(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Ground:
    """One adapter with empty queues of its own on a running server."""

    url: str
    topology: Topology
    server: Server

    @property
    def work(self) -> str:
        return self.topology.queues[0]

    @property
    def dead(self) -> str:
        return self.topology.dead_letter_queue

    def open(self, tuning: Tuning = BRISK, *, url: str | None = None) -> AbstractAsyncContextManager[Broker]:
        return open_broker(url or self.url, self.topology, name="conformance", tuning=tuning)


def fresh_topology() -> Topology:
    """Name everything anew, so that tests share a server without meeting."""
    mark = secrets.token_hex(4)
    return Topology(
        exchange=f"direct.{mark}",
        queues=(f"work.{mark}.queue", f"other.{mark}.queue"),
        dead_letter_queue=f"failed.{mark}.queue",
        retry_exchange=f"retry.{mark}",
        retry_delays=(0.3, 0.6),
        topics_exchange=f"events.{mark}",
        delivery_limit=3,
    )


@asynccontextmanager
async def postgresql_ground(server: PostgresServer) -> AsyncIterator[Ground]:
    dsn = await server.create_database()
    await migrate_broker(dsn)
    yield Ground(dsn, fresh_topology(), server)
    await server.drop_database(dsn)


@asynccontextmanager
async def rabbitmq_ground(server: RabbitServer) -> AsyncIterator[Ground]:
    """Lend queues of new names, and leave them: the node goes with the session.

    Deleting a quorum queue with at-least-once dead-lettering soon after a start takes RabbitMQ 3.10 down.
    """
    yield Ground(server.url, fresh_topology(), server)


class Inbox:
    """A handler that remembers what it was given and answers as `decide` says."""

    def __init__(self, decide: Callable[[Delivery], Outcome] = lambda _: Done()) -> None:
        self.batches: list[list[Delivery]] = []
        self._decide = decide

    @property
    def deliveries(self) -> list[Delivery]:
        return [delivery for batch in self.batches for delivery in batch]

    @property
    def bodies(self) -> list[bytes]:
        return sorted(delivery.body for delivery in self.deliveries)

    async def __call__(self, batch: Sequence[Delivery]) -> Sequence[Outcome]:
        self.batches.append(list(batch))
        return [self._decide(delivery) for delivery in batch]


@asynccontextmanager
async def consuming(
    broker: Broker, queue: str, handle: Handler, *, size: int = 10, in_flight: int = 2
) -> AsyncIterator["asyncio.Task[None]"]:
    """Consume in the background; stops, drains and reports what went wrong at the end."""
    task = asyncio.create_task(broker.consume(queue, handle, size=size, in_flight=in_flight))
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, 30)


@asynccontextmanager
async def slow_consumer(ground: Ground, tuning: Tuning = BRISK) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a consumer process that holds its messages until it is told, killed with -9 at the end."""
    told = {"url": ground.url, "topology": asdict(ground.topology), "tuning": asdict(tuning)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.slow_consumer", json.dumps(told)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=REPOSITORY,
        preexec_fn=dies_with_parent(),
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def line_of(process: asyncio.subprocess.Process, *, within: float = 20) -> list[str]:
    """Return the words of the next line that is not a log line."""
    assert process.stdout is not None
    async with asyncio.timeout(within):
        while True:
            words = (await process.stdout.readline()).decode().split()
            assert words, "the process has ended"
            if words[0] in {"holds", "finished"}:
                return words
