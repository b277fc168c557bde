"""The broker port on PostgreSQL: publishes by INSERT, claims by polling, settles by lease."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import asyncpg
import structlog

from carillon.kit.broker.batches import BackOff, Batches
from carillon.kit.broker.port import (
    BrokerUnavailable,
    Event,
    Handler,
    Message,
    PublishFailed,
    QueueDepth,
    Topology,
    Tuning,
)
from carillon.kit.broker.postgres.announcements import Announcements
from carillon.kit.broker.postgres.leases import Leases
from carillon.kit.broker.postgres.polling import Poll
from carillon.kit.broker.postgres.settling import Settling
from carillon.kit.broker.postgres.store import SESSION, TROUBLE, Claim, MessageStore, unavailable

log = structlog.get_logger(__name__)

POOL_SIZE = 4  # statements are short; each connection is a process of PostgreSQL's with 1.5 to 8 MiB
CHUNK_MESSAGES = 2_000
CHUNK_BYTES = 8 * 1024 * 1024
CLOSE_TIMEOUT = 5.0


class PostgresBroker:
    """Shared by all tasks of one event loop; made by `open_postgres`."""

    def __init__(self, dsn: str, store: MessageStore, topology: Topology, tuning: Tuning) -> None:
        self._store = store
        self._topology = topology
        self._tuning = tuning
        self.leases = Leases(store, seconds=tuning.lease)
        self._settling = Settling(store, self.leases, topology, tuning)
        self._announcements = Announcements(dsn, store, exchange=topology.topics_exchange, tuning=tuning)
        self._wakes: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def publish(self, messages: Sequence[Message]) -> None:
        known = [message for message in messages if message.queue in self._topology.all_queues]
        await self._publish(known)
        if len(known) < len(messages):
            lost = [message for message in messages if message.queue not in self._topology.all_queues]
            raise PublishFailed(lost, "the topology has no such queue")

    async def _publish(self, messages: Sequence[Message]) -> None:
        durable = 0
        try:
            async with asyncio.timeout(self._tuning.publish_timeout):
                for chunk in chunks(messages):
                    async with self._store.connection() as connection:
                        await self._store.publish(connection, chunk)
                    durable += len(chunk)
                    self._wake(chunk)
        except BrokerUnavailable as error:
            if not durable:
                raise
            raise PublishFailed(messages[durable:], str(error)) from error
        except TROUBLE as error:  # in the middle of a statement: it may have been committed all the same
            raise PublishFailed(messages[durable:], str(unavailable(error))) from error

    def _wake(self, messages: Sequence[Message]) -> None:
        for queue in {message.queue for message in messages}:
            self._wakes[queue].set()

    async def consume(self, queue: str, handle: Handler, *, size: int, in_flight: int) -> None:
        if queue not in self._topology.all_queues:
            raise ValueError(f"the topology has no queue {queue!r}, only {', '.join(self._topology.all_queues)}")
        batches = Batches(queue, limit=in_flight, drain_timeout=self._tuning.drain_timeout)
        poll, back_off = Poll(self._wakes[queue]), BackOff()
        try:
            while True:
                await batches.room()
                claim = await self._claim(queue, size, back_off)
                if claim is None:
                    await poll.found_nothing()
                    continue
                batches.start(self._settling.work(claim, handle))
                await poll.found(len(claim.rows), wanted=size)
        finally:
            await batches.drain()

    async def _claim(self, queue: str, size: int, back_off: BackOff) -> Claim | None:
        """Claim once; when cancelled meanwhile, what the statement leased is handed back at once."""
        claiming = asyncio.ensure_future(self._store.claim(queue, size, lease_seconds=self._tuning.lease))
        try:
            claim = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            await self._hand_back(claiming)
            raise
        except BrokerUnavailable as error:
            if back_off.fresh:
                log.warning("broker_unavailable", queue=queue, error=str(error))
            await back_off.pause()
            return None
        back_off.reset()
        return claim

    async def _hand_back(self, claiming: "asyncio.Future[Claim | None]") -> None:
        with suppress(BrokerUnavailable, TimeoutError):  # then the lease's end brings them back
            async with asyncio.timeout(CLOSE_TIMEOUT):
                claim = await claiming
            if claim is not None:
                await self._store.release(claim, delay=0, uncount=True)

    async def announce(self, topic: str, body: bytes) -> None:
        await self._announcements.announce(topic, body)

    def subscribe(self, topic: str) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        return self._announcements.subscribe(topic)

    async def depths(self) -> Mapping[str, QueueDepth]:
        return await self._store.depths(self._topology.all_queues)

    async def lengths(self, queues: Sequence[str], *, most: int) -> Mapping[str, int]:
        return await self._store.lengths(queues, most)

    async def ping(self) -> None:
        await self._store.ping()


@asynccontextmanager
async def open_postgres(dsn: str, topology: Topology, *, name: str, tuning: Tuning) -> AsyncIterator[PostgresBroker]:
    """Open a pool that connects when it is first needed, so that a server that is away does not stop the opening."""
    pool = await asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=POOL_SIZE,
        reset=_keep_session,
        server_settings={**SESSION, "application_name": name},
        timeout=tuning.connect_timeout,
        command_timeout=tuning.publish_timeout,
    )
    store = MessageStore(pool, acquire_timeout=tuning.connect_timeout, statement_timeout=tuning.publish_timeout)
    broker = PostgresBroker(dsn, store, topology, tuning)
    renewing = asyncio.create_task(broker.leases.renew_until_cancelled(), name="renew broker leases")
    try:
        yield broker
    finally:
        renewing.cancel()
        await asyncio.wait([renewing], timeout=CLOSE_TIMEOUT)
        await _close(pool)


async def _keep_session(_connection: asyncpg.Connection) -> None:
    """Spare the round trip of a reset: no statement of the broker changes its session."""


async def _close(pool: asyncpg.Pool) -> None:
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await pool.close()
    except TROUBLE:
        pool.terminate()


def chunks(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """Cut into statements of bounded rows and bytes."""
    start = size = 0
    for position, message in enumerate(messages):
        if position > start and (position - start >= CHUNK_MESSAGES or size + len(message.body) > CHUNK_BYTES):
            yield messages[start:position]
            start, size = position, 0
        size += len(message.body)
    if start < len(messages):
        yield messages[start:]
