"""A tiny SMTP server whose every reply the test can change, and which may close or fall silent at any command."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

REPLIES = {
    "CONNECT": "220 ready",
    "EHLO": "250-here\r\n250 8BITMIME",
    "MAIL": "250 2.1.0 ok",
    "RCPT": "250 2.1.5 ok",
    "DATA": "354 go on",
    "END": "250 2.0.0 queued as 42",
    "RSET": "250 2.0.0 ok",
    "QUIT": "221 bye",
}
PIPELINING = "250-here\r\n250-PIPELINING\r\n250 8BITMIME"
CLOSE, SILENCE = "close", "silence"


@dataclass
class ScriptedSmtp:
    """`replies` by command; a reply may be CLOSE or SILENCE. `lines` is what came in, `mails` what was accepted."""

    port: int = 0
    replies: dict[str, str | Callable[[], str]] = field(default_factory=lambda: dict(REPLIES))
    lines: list[str] = field(default_factory=list)
    mails: list[bytes] = field(default_factory=list)
    connections: int = 0
    open: set[asyncio.StreamWriter] = field(default_factory=set)
    greeted: int = 0

    def count(self, command: str) -> int:
        return sum(line.upper().startswith(command) for line in self.lines)

    async def hang_up(self) -> None:
        """Close every connection, as servers do with idle ones."""
        for writer in list(self.open):
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open.add(writer)
        try:
            if await self._answer(writer, "CONNECT"):
                while (line := await reader.readline()) and await self._command(line.decode().strip(), reader, writer):
                    pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open.discard(writer)
            writer.close()

    async def _command(self, line: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        self.lines.append(line)
        command = line.split(" ", maxsplit=1)[0].split(":", maxsplit=1)[0].upper()
        if not await self._answer(writer, command):
            return False
        if command == "DATA" and self._reply("DATA").startswith("354"):
            content = b""
            while (more := await reader.readuntil(b"\r\n")) != b".\r\n":
                content += more
            if not await self._answer(writer, "END"):
                return False
            if content and self._reply("END").startswith("250"):
                self.mails.append(content)
        return command != "QUIT"

    def _reply(self, command: str) -> str:
        reply = self.replies.get(command, "500 what")
        return reply if isinstance(reply, str) else reply()

    async def _answer(self, writer: asyncio.StreamWriter, command: str) -> bool:
        reply = self._reply(command)
        if reply == CLOSE:
            return False
        if reply != SILENCE:
            writer.write(reply.encode() + b"\r\n")
            await writer.drain()
        return not reply.startswith("421")


@contextlib.asynccontextmanager
async def scripted_smtp() -> AsyncIterator[ScriptedSmtp]:
    scripted = ScriptedSmtp()
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    scripted.port = server.sockets[0].getsockname()[1]
    try:
        yield scripted
    finally:
        server.close()
        await scripted.hang_up()
