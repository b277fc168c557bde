"""The wire between the gateway and its PostgreSQL, to be cut where it hurts most."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit


class Wire:
    """Forwards TCP. `deaf`: the server still hears everything, and the client is cut off in place of its answer."""

    def __init__(self, host: str, port: int) -> None:
        self._there = host, port
        self.deaf = False
        self.refuses = False
        self._open: set[asyncio.StreamWriter] = set()

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            writer.close()
            return
        server_reader, server_writer = await asyncio.open_connection(*self._there)
        ends = {writer, server_writer}
        self._open |= ends
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward(reader, server_writer))
                group.create_task(self._answer(server_reader, writer))
        except* (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._open -= ends
            for end in ends:
                end.close()

    def cut(self) -> None:
        """Break every connection."""
        for end in set(self._open):
            end.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if self.deaf:
                break
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError


@contextlib.asynccontextmanager
async def wire_to(dsn: str) -> AsyncIterator[tuple[Wire, str]]:
    """The wire, and the DSN that leads through it."""
    there = urlsplit(dsn)
    assert there.hostname is not None
    assert there.port is not None
    wire = Wire(there.hostname, there.port)
    server = await asyncio.start_server(wire.meet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield wire, dsn.replace(f":{there.port}/", f":{port}/")
    finally:
        server.close()
        wire.cut()
        async with asyncio.timeout(10):
            await server.wait_closed()
