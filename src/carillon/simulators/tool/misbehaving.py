"""What both servers do to a connection instead of answering: nothing for a while, letter by letter, or an end."""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Final

HANGING_SECONDS: Final = 600.0
LATE_SECONDS: Final = 5.0
WRITING_SECONDS: Final = 30.0
_RESET = struct.pack("ii", 1, 0)


def cut(transport: asyncio.WriteTransport | None) -> None:
    """End a connection as a crash would: reset, what was not written is lost."""
    if transport is None:
        return
    raw = transport.get_extra_info("socket")
    # The loop's socket takes no options; they belong to the connection, so a twin sets them.
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(raw.fileno() if raw is not None else -1)) as twin:
        twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


async def letters(text: bytes, seconds: float, write: Callable[[bytes], Awaitable[None]]) -> None:
    """Write byte by byte, evenly over the time."""
    for letter in text:
        await asyncio.sleep(seconds / len(text))
        await write(bytes([letter]))
