"""Takes the messages out of a connection's stream before the library reads it: all the rest is the library's still.

The library opens, logs in, declares, keeps up heartbeats and closes; a channel's messages and confirms go past it.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol, cast

from aiormq.connection import TransportFactory
from aiormq.exceptions import AMQPConnectionError
from yarl import URL

from carillon.kit.broker.rabbitmq import frames

_KINDS = frozenset({frames.METHOD, frames.HEADER, frames.BODY, frames.HEARTBEAT[0]})
_LARGEST = 1 << 27  # no server's frames are larger; one that says so is none
_SIGN_OF_LIFE = 1.0


class Taker(Protocol):
    """Reads what it knows of one channel; `read` comes after each handful, `resumed` when writing is possible again."""

    def takes(self, kind: int, payload: bytes) -> bool: ...

    def read(self) -> None: ...

    def resumed(self) -> None: ...


class Tap(asyncio.StreamReaderProtocol):
    """One connection. What no taker takes goes on to the library, in its order."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        loop: asyncio.AbstractEventLoop,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(reader, loop=loop)
        self._clock = clock
        self._takers: dict[int, Taker] = {}
        self._rest = b""
        self._wire: asyncio.Transport | None = None
        self._told = 0.0
        self.clogged = False
        """The server reads too slowly: wait with what can wait."""

    def take(self, channel: int, taker: Taker) -> None:
        self._takers[channel] = taker

    def release(self, channel: int) -> None:
        """Who took for an earlier channel of this number takes no more."""
        self._takers.pop(channel, None)

    def write(self, data: bytes) -> None:
        if self._wire is not None and not self._wire.is_closing():
            self._wire.write(data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast(asyncio.Transport, transport)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        stream = self._rest + data if self._rest else data
        at, end, heard, passed = 0, len(stream), set[Taker](), list[bytes]()
        while end - at >= frames.OVERHEAD:
            kind, channel, size = frames.HEAD.unpack_from(stream, at)
            if kind not in _KINDS or size > _LARGEST:  # no AMQP: the library says so better
                if self._takers and self._wire is not None:  # out of step: whatever is not settled comes again
                    self._wire.abort()
                passed.append(stream[at:])
                at = end
                break
            until = at + frames.OVERHEAD + size
            if until > end:
                break
            taker = self._takers.get(channel)
            if taker is not None and taker.takes(kind, stream[at + frames.HEAD.size : until - 1]):
                heard.add(taker)
            else:
                passed.append(stream[at:until])
            at = until
        self._rest = stream[at:]
        for taker in heard:
            taker.read()
        self._pass_on(passed, alive=bool(heard))

    def _pass_on(self, passed: list[bytes], *, alive: bool) -> None:
        """A busy server sends no heartbeats, so the library is told now and then that there was something."""
        now = self._clock()
        if passed or (alive and now - self._told >= _SIGN_OF_LIFE):
            self._told = now
            super().data_received(b"".join(passed) or frames.HEARTBEAT)

    def pause_writing(self) -> None:
        self.clogged = True
        super().pause_writing()

    def resume_writing(self) -> None:
        self.clogged = False
        super().resume_writing()
        for taker in list(self._takers.values()):
            taker.resumed()


class Tapping(TransportFactory):
    """Opens the library's transports with a tap; `tap` is the last one's."""

    tap: Tap

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        provider = kwargs.pop("ssl_context_provider", None)
        context = await provider.get_context() if url.scheme == "amqps" and provider is not None else None
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        try:
            transport, tap = await loop.create_connection(
                lambda: Tap(reader, loop), url.host or "", url.port or 0, ssl=context, **kwargs
            )
        except OSError as error:
            raise AMQPConnectionError(*error.args) from error
        self.tap = tap
        return reader, asyncio.StreamWriter(transport, tap, reader, loop)


class Contents(ABC):
    """Puts the frames of one channel's messages together; `complete` gets method, header and body."""

    def __init__(self) -> None:
        self._method: bytes | None = None
        self._header = b""
        self._parts: list[bytes] = []
        self._missing = 0

    def takes(self, kind: int, payload: bytes) -> bool:
        if kind == frames.METHOD:
            return self._begins(payload)
        if self._method is None:
            return False
        if kind == frames.HEADER:
            self._header, self._parts, self._missing = payload, [], frames.size_of(payload)
        else:
            self._parts.append(payload)
            self._missing -= len(payload)
        if self._missing <= 0:
            method, self._method = self._method, None
            self.complete(method, self._header, self._parts[0] if len(self._parts) == 1 else b"".join(self._parts))
        return True

    def _begins(self, payload: bytes) -> bool:
        method = frames.method_of(payload)
        if method in (frames.DELIVER, frames.RETURN):
            self._method = payload
            return True
        return self.told(method, payload)

    def told(self, method: int, payload: bytes) -> bool:
        """A method without a content; False: not taken."""
        del method, payload
        return False

    @abstractmethod
    def complete(self, method: bytes, header: bytes, body: bytes) -> None: ...

    def resumed(self) -> None:  # noqa: B027 - not everybody has something to write
        """Writing is possible again."""
