"""What stands in front of the replicas of a service: each new connection goes to the next one that takes it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlsplit


class Balancer:
    """Passes bytes on, both ways, until one side ends."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._replicas = [(urlsplit(url).hostname, urlsplit(url).port) for url in urls]
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer.transport):
            for _ in self._replicas:
                self._replicas.append(self._replicas.pop(0))
                with contextlib.suppress(OSError):
                    there = await asyncio.open_connection(*self._replicas[-1])
                    break
            else:
                return
            with contextlib.closing(there[1].transport):
                ways = [asyncio.ensure_future(_pump(reader, there[1])), asyncio.ensure_future(_pump(there[0], writer))]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()


@contextlib.asynccontextmanager
async def balancing(*urls: str) -> AsyncIterator[Balancer]:
    """One address for these replicas."""
    balancer, handling = Balancer(urls), set[asyncio.Task[None]]()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(balancer.serve(reader, writer))
        handling.add(task)
        task.add_done_callback(handling.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    balancer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield balancer
    finally:
        server.close()
        for task in list(handling):
            task.cancel()
        await asyncio.gather(*handling, return_exceptions=True)
