"""One connection to RabbitMQ, kept up: it connects, declares, and does both again whenever it is lost."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import aiormq
import structlog
from aiormq.channel import Channel
from yarl import URL

from carillon.kit.broker.batches import BackOff, asked_to_stop
from carillon.kit.broker.port import BrokerUnavailable, Topology, TopologyMismatch, Tuning
from carillon.kit.broker.rabbitmq.declare import declare
from carillon.kit.broker.rabbitmq.publishing import Publisher
from carillon.kit.broker.rabbitmq.tap import Tap, Tapping

log = structlog.get_logger(__name__)

TROUBLE = (aiormq.exceptions.AMQPError, OSError, TimeoutError, RuntimeError)
"""What aiormq raises when the server is away, going away, or has closed the channel."""

HEARTBEAT = 10
CLOSE_TIMEOUT = 5.0
LARGEST_FRAME = 131_072  # where the server sets no bound


@contextmanager
def closing_is_no_cancellation() -> Iterator[None]:
    """Turn the CancelledError that aiormq throws at whoever waits on a closing connection into a lost connection.

    Taken for a request to stop it would end a consumer silently, instead of having it connect anew.
    """
    try:
        yield
    except asyncio.CancelledError:
        if asked_to_stop():
            raise
        raise ConnectionResetError("the connection to RabbitMQ was closed") from None


class Session:
    """One life of the connection; `lost` is set when it ends, for whatever reason."""

    def __init__(self, connection: aiormq.Connection, publishing: Channel, tap: Tap) -> None:
        self.connection = connection
        self.tap = tap
        self.publisher = Publisher(
            tap, publishing.number, largest_frame=connection.connection_tune.frame_max or LARGEST_FRAME
        )
        self.lost = asyncio.Event()
        tap.take(publishing.number, self.publisher)
        for part in (connection, publishing):
            part.closing.add_done_callback(lambda _: self._end())

    def _end(self) -> None:
        self.lost.set()
        self.publisher.lost()

    @asynccontextmanager
    async def channel(self, *, within: float) -> AsyncIterator[Channel]:
        """Open a channel of one's own without confirms, closed afterwards."""
        with closing_is_no_cancellation():
            channel = await self.connection.channel(publisher_confirms=False, timeout=within)
            assert isinstance(channel, Channel)
            self.tap.release(channel.number)  # the server may have closed the last one of this number
            try:
                yield channel
            finally:
                with suppress(*TROUBLE):
                    await channel.close(timeout=CLOSE_TIMEOUT)

    async def close(self) -> None:
        self._end()
        with suppress(*TROUBLE):
            await self.connection.close(timeout=CLOSE_TIMEOUT)


class Link:
    """Hands out the session of the moment; `keep_up` runs for as long as the broker is open."""

    def __init__(self, url: str, topology: Topology, *, name: str, tuning: Tuning) -> None:
        self._url = URL(url) if "heartbeat" in URL(url).query else URL(url).update_query(heartbeat=HEARTBEAT)
        self._url = self._url.update_query(name=name)
        self._topology = topology
        self._timeout = tuning.connect_timeout
        self._session: Session | None = None
        self._up = asyncio.Event()
        self._trouble: BrokerUnavailable | TopologyMismatch | None = None

    async def session(self, *, within: float) -> Session:
        """Return the session; raises `BrokerUnavailable` (or `TopologyMismatch`) when there is none in time."""
        try:
            async with asyncio.timeout(within):
                return await self.next_session()
        except TimeoutError:
            raise self.trouble or BrokerUnavailable("RabbitMQ does not answer") from None

    async def next_session(self) -> Session:
        """Wait for a session for as long as it takes."""
        while self._session is None or self._session.lost.is_set():
            self._up.clear()
            await self._up.wait()
        return self._session

    @property
    def trouble(self) -> BrokerUnavailable | TopologyMismatch | None:
        """Why there is no session, as an error of one's own to raise; None while there is one or the first is tried."""
        return None if self._trouble is None else type(self._trouble)(str(self._trouble))

    async def keep_up(self) -> None:
        back_off = BackOff()
        while True:
            try:
                with closing_is_no_cancellation():
                    await self._live_once(back_off)
            except (TopologyMismatch, *TROUBLE) as error:
                first = self._trouble is None or back_off.fresh
                self._trouble = error if isinstance(error, TopologyMismatch) else _unavailable(error)
                if first:
                    log.warning("broker_unavailable", error=str(self._trouble))
            except Exception as error:  # noqa: BLE001 - the end of this task would be the end of all connecting
                self._trouble = _unavailable(error)
                log.warning("broker_connecting_failed", error=type(error).__name__)
            await back_off.pause()

    async def _live_once(self, back_off: BackOff) -> None:
        session = await self._connect()
        try:
            self._session, self._trouble = session, None
            back_off.reset()
            self._up.set()
            log.info("broker_connected")
            await session.lost.wait()
            self._trouble = BrokerUnavailable("the connection to RabbitMQ was lost")
            log.warning("broker_connection_lost")
        finally:
            self._session = None
            await session.close()

    async def _connect(self) -> Session:
        tapping = Tapping()
        connection = aiormq.Connection(self._url, transport_factory=tapping)
        try:
            with closing_is_no_cancellation():
                async with asyncio.timeout(self._timeout):
                    await connection.connect()
                    declaring = await connection.channel(publisher_confirms=False)
                    await declare(declaring, self._topology)
                    await declaring.close()
                    publishing = await connection.channel(publisher_confirms=True)
                    assert isinstance(publishing, Channel)
        except BaseException:
            with suppress(*TROUBLE):
                await connection.close(timeout=CLOSE_TIMEOUT)
            raise
        return Session(connection, publishing, tapping.tap)


def _unavailable(error: BaseException) -> BrokerUnavailable:
    return BrokerUnavailable(f"RabbitMQ cannot be reached: {str(error) or type(error).__name__}")
