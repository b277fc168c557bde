"""SMTP on a connection that stands: commands share a write where the server knows pipelining (RFC 2920).

aiosmtplib opens, secures and logs in; it cannot pipeline, since it drops replies that come together. Two round trips a
mail instead of four halve what it costs on the wire.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import NamedTuple, cast

import aiosmtplib

_LONGEST_REPLY = 1 << 15
_FAILURES_FROM = 400
_LONE_BREAKS = re.compile(rb"\r(?!\n)|(?<!\r)\n")


class Reply(NamedTuple):
    code: int
    text: str


class Line(asyncio.Protocol):
    """Takes over an opened connection. One question at a time; a reply that nobody asked for ends it."""

    def __init__(self, opened: aiosmtplib.SMTP) -> None:
        assert opened.protocol is not None
        self.smtputf8 = opened.supports_extension("smtputf8")
        self._pipelining = opened.supports_extension("pipelining")
        self._transport = cast(asyncio.Transport, opened.protocol.transport)
        self._transport.set_protocol(self)
        self._buffer = b""
        self._text: list[bytes] = []
        self._replies: list[Reply] = []
        self._wanted = 0
        self._answer: asyncio.Future[None] | None = None

    @property
    def open(self) -> bool:
        return not self._transport.is_closing()

    def close(self) -> None:
        """Drop the connection; what was not written yet never goes out."""
        self._transport.abort()

    async def ask(self, said: bytes, replies: int = 1, *, seconds: float) -> list[Reply]:
        """As many replies as wanted; fewer, but one at least, when the connection was lost in between.

        Raises SMTPServerDisconnected, TimeoutError.
        """
        if not self.open:
            raise aiosmtplib.SMTPServerDisconnected("Connection lost")
        loop = asyncio.get_running_loop()
        self._replies, self._text, self._wanted, self._answer = [], [], replies, loop.create_future()
        patience = loop.call_later(seconds, self._fell_silent)
        try:
            self._transport.write(said)
            await self._answer
        finally:
            patience.cancel()
            self._answer = None
        if not self._replies:
            raise aiosmtplib.SMTPServerDisconnected("Connection lost")
        return self._replies

    async def ask_all(self, commands: Sequence[bytes], *, seconds: float) -> list[Reply]:
        """Replies to all commands, together within `seconds`; without pipelining none after the first failure."""
        if self._pipelining:
            return await self.ask(b"".join(commands), len(commands), seconds=seconds)
        clock = asyncio.get_running_loop().time
        until, replies = clock() + seconds, list[Reply]()
        for command in commands:
            replies += await self.ask(command, seconds=until - clock())
            if replies[-1].code >= _FAILURES_FROM:
                break
        return replies

    def data_received(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._read(line)
        if len(self._buffer) + sum(map(len, self._text)) > _LONGEST_REPLY:
            self.close()

    def _read(self, line: bytes) -> None:
        if self._answer is None or self._answer.done() or not line[:3].isdigit():
            self.close()  # out of step; mostly a server that takes leave of an idle connection
            return
        self._text.append(line[4:].strip())
        if line[3:4] == b"-":
            return
        self._replies.append(Reply(int(line[:3]), b"\n".join(self._text).decode("utf-8", "surrogateescape")))
        self._text = []
        if len(self._replies) == self._wanted:
            self._answer.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(None)

    def _fell_silent(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(TimeoutError("The server fell silent."))


def stuffed(content: bytes) -> bytes:
    """As DATA carries it: every line ends in CRLF and in nothing else, leading dots are doubled, a dot is the end."""
    breaks = content.count(b"\r\n")
    if content.count(b"\r") != breaks or content.count(b"\n") != breaks:
        content = _LONE_BREAKS.sub(b"\r\n", content)
    if not content.endswith(b"\r\n"):
        content += b"\r\n"
    return (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"
