"""A TCP proxy in front of a server, to cut its connections or to let them die without a word."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit


class Proxy:
    """`cut` closes what is open and refuses what comes; `silence` keeps connections open and passes nothing on;
    `delay` passes everything on so many seconds late."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._refusing = False
        self._passing = asyncio.Event()
        self._passing.set()
        self._delay = 0.0
        self.port = 0

    def cut(self) -> None:
        self._refusing = True
        for writer in list(self._writers):
            writer.transport.abort()

    def silence(self) -> None:
        self._passing.clear()

    def delay(self, seconds: float) -> None:
        self._delay = seconds

    def restore(self) -> None:
        """Serve new connections again. Those that were silenced end: their far side has long forgotten them."""
        if not self._passing.is_set():
            self.cut()
        self._refusing = False
        self._delay = 0.0
        self._passing.set()

    def in_front_of(self, url: str) -> str:
        """The same address by way of this proxy."""
        parts = urlsplit(url)
        login = parts.netloc.rpartition("@")[0]
        return urlunsplit(
            parts._replace(netloc=f"{login}@127.0.0.1:{self.port}" if login else f"127.0.0.1:{self.port}")
        )

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        with contextlib.suppress(OSError):
            upstream = await asyncio.open_connection(*self._upstream)
            await asyncio.gather(self._pump(reader, upstream[1]), self._pump(upstream[0], writer))
        writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while data := await reader.read(65_536):
                await self._passing.wait()
                if self._delay:
                    await asyncio.sleep(self._delay)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()


@contextlib.asynccontextmanager
async def proxy_to(url: str) -> AsyncIterator[Proxy]:
    """A proxy to the server that the URL names."""
    parts = urlsplit(url)
    proxy = Proxy(parts.hostname or "127.0.0.1", parts.port or 0)
    handling: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(proxy.serve(reader, writer))
        handling.add(task)
        task.add_done_callback(handling.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        for task in list(handling):
            task.cancel()
        await asyncio.gather(*handling, return_exceptions=True)
