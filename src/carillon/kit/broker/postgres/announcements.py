"""Announcements over LISTEN/NOTIFY: rare events on a connection of their own, never on the way of a message."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg
import structlog

from carillon.kit.broker.batches import BackOff
from carillon.kit.broker.events import EventQueue
from carillon.kit.broker.port import Announced, Event, LinkLost, Reconnected, Tuning
from carillon.kit.broker.postgres.store import TROUBLE, MessageStore, unavailable

log = structlog.get_logger(__name__)

LONGEST_PAYLOAD = 7_999


def channel_of(exchange: str, topic: str) -> str:
    """One channel per topic, within PostgreSQL's 63 bytes whatever the names are."""
    return "broker_" + hashlib.sha256(f"{exchange}\0{topic}".encode()).hexdigest()[:48]


class Announcements:
    """Tells and hears of topics within one database."""

    def __init__(self, dsn: str, store: MessageStore, *, exchange: str, tuning: Tuning) -> None:
        self._dsn = dsn
        self._store = store
        self._exchange = exchange
        self._timeout = tuning.connect_timeout
        self._heartbeat = tuning.heartbeat

    async def announce(self, topic: str, body: bytes) -> None:
        payload = base64.b64encode(body).decode()
        if len(payload) > LONGEST_PAYLOAD:
            raise ValueError(
                f"an announcement carries at most {LONGEST_PAYLOAD * 3 // 4} bytes on PostgreSQL, not {len(body)}: "
                "announce where the data is instead of the data"
            )
        await self._store.notify(channel_of(self._exchange, topic), payload)

    @asynccontextmanager
    async def subscribe(self, topic: str) -> AsyncIterator[AsyncIterator[Event]]:
        events = EventQueue()
        listening = asyncio.create_task(self._listen(topic, events), name=f"listen to {topic}")
        try:
            yield events
        finally:
            listening.cancel()
            await asyncio.wait([listening], timeout=self._timeout)

    async def _listen(self, topic: str, events: EventQueue) -> None:
        back_off = BackOff()
        while True:
            try:
                await self._listen_once(topic, events, back_off)
            except TROUBLE as error:
                if back_off.fresh:
                    log.warning("broker_subscription_lost", topic=topic, error=str(unavailable(error)))
            await back_off.pause()

    async def _listen_once(self, topic: str, events: EventQueue, back_off: BackOff) -> None:
        connection = await asyncpg.connect(self._dsn, timeout=self._timeout, command_timeout=self._timeout)
        lost = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(
                channel_of(self._exchange, topic),
                lambda *notification: events.put(Announced(topic, base64.b64decode(str(notification[3])))),
            )
            events.put(Reconnected())
            back_off.reset()
            try:
                await self._until_lost(connection, lost)
            finally:
                events.put(LinkLost())  # before the closing, which may take its time
        finally:
            with suppress(*TROUBLE):
                await connection.close(timeout=1)

    async def _until_lost(self, connection: asyncpg.Connection, lost: asyncio.Event) -> None:
        while not lost.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._heartbeat):
                    await lost.wait()
            if not lost.is_set():  # a connection may have died without a word
                await connection.execute("SELECT 1", timeout=self._heartbeat)
