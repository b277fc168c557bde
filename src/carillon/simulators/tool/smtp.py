"""A mail server that misbehaves as told, on a listening socket."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Final

import structlog

from carillon.simulators.domain.rules import Rule
from carillon.simulators.tool.book import Book, Entry
from carillon.simulators.tool.dialogue import LONGEST_LINE
from carillon.simulators.tool.misbehaving import cut
from carillon.simulators.tool.smtp_session import Over, Session

_log = structlog.get_logger()
_MOST_CONNECTIONS: Final = 1_000
_LEAVING_SECONDS: Final = 5.0


@contextlib.asynccontextmanager
async def smtp_server(
    book: Book, listening: socket.socket, *, max_bytes: int, bounce: Callable[[Entry, Rule], None]
) -> AsyncIterator[None]:
    """Serve until left; then connections still open are closed, their mail unanswered."""
    open_ones: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_ones.add(task)
        try:
            if len(open_ones) > _MOST_CONNECTIONS:
                writer.write(b"421 4.7.0 Too many connections\r\n")
                return
            # We alone cancel, at the end; streams would report it as a failure.
            with contextlib.suppress(asyncio.CancelledError):
                await _conversed(Session(reader, writer, book, max_bytes=max_bytes, bounce=bounce))
        finally:
            open_ones.discard(task)
            _close(writer)

    server = await asyncio.start_server(connected, sock=listening, limit=LONGEST_LINE)
    try:
        yield
    finally:
        server.close()
        for task in list(open_ones):
            task.cancel()
        if open_ones:
            await asyncio.wait(list(open_ones), timeout=_LEAVING_SECONDS)


async def _conversed(session: Session) -> None:
    try:
        with contextlib.suppress(Over, OSError, TimeoutError):
            await session.converse()
    except Exception as error:  # noqa: BLE001 - a mistake of ours ends one connection, not the server
        _log.error("smtp_session_failed", exc_info=error)
    finally:
        session.leave()


def _close(writer: asyncio.StreamWriter) -> None:
    """What was said still goes out, unless the client does not read it."""
    writer.close()
    asyncio.get_running_loop().call_later(_LEAVING_SECONDS, cut, writer.transport)
