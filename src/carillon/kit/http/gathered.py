"""One packet for what is written in one turn of the loop: uvicorn writes the head and the body of an answer apart."""

import asyncio
from typing import Any

_FULL = 64 * 1024


class Gathered:
    """A transport whose writes go out together; everything else is the transport's own. Closing sends first."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def full(self) -> bool:
        """Whether so much waits for the end of this turn that no more should be added to it."""
        return self._size >= _FULL

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._send)
        self._parts.append(data)
        self._size += len(data)

    def close(self) -> None:
        self._send()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _send(self) -> None:
        parts, self._parts, self._size = self._parts, [], 0
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))
