"""A mail server that accepts everything, in a process of its own: `python -m benchmarks.smtp_sink PORT`."""

import asyncio
import json
import sys
import time
from typing import cast

import uvloop

TIMED = "timed.example.com"
"""Mails to this domain are noted with the moment at which they were taken."""
_MARK = f"@{TIMED}".encode()
_LONGEST_ANSWER = 1 << 26


class Sink(asyncio.Protocol):
    """Speaks enough SMTP for a client that pipelines or not; `XCOUNT` answers how many mails it has taken and how many
    people of the timed domain have got one, `XTIMES` when each of these did."""

    taken = 0
    times: dict[str, float] = {}  # noqa: RUF012 - everybody's

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._buffer, self._in_data = cast(asyncio.Transport, transport), b"", False
        self._timed = ""
        self._transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        answers: list[bytes] = []
        while True:
            mark = b"\r\n.\r\n" if self._in_data else b"\r\n"
            line, found, rest = self._buffer.partition(mark)
            if not found:
                break
            self._buffer = rest
            answers.append(self._take() if self._in_data else self._answer(line))
        if answers:
            self._transport.write(b"".join(answers))

    def _take(self) -> bytes:
        self._in_data = False
        Sink.taken += 1
        if self._timed:
            Sink.times.setdefault(self._timed, time.perf_counter())
            self._timed = ""
        return b"250 taken\r\n"

    def _answer(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        if verb == b"RCPT":
            self._timed = line.partition(_MARK)[0].rpartition(b"<")[2].decode() if _MARK in line else ""
        if verb == b"EHLO":
            return b"250-sink\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 PIPELINING\r\n"
        if verb == b"DATA":
            self._in_data = True
            return b"354 go on\r\n"
        if verb == b"XCOU":
            return b"250 %d %d\r\n" % (Sink.taken, len(Sink.times))
        if verb == b"XTIM":
            return b"250 %s\r\n" % json.dumps(Sink.times, separators=(",", ":")).encode()
        if verb == b"QUIT":
            self._transport.write(b"221 bye\r\n")
            self._transport.close()
            return b""
        return b"250 ok\r\n"


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", port)
    await server.serve_forever()


async def taken(port: int) -> int:
    """How many mails the sink at `port` has taken."""
    return (await counted(port))[0]


async def counted(port: int) -> tuple[int, int]:
    """The same, and how many people of the timed domain have got one."""
    total, timed = (await _asked(port, b"XCOUNT")).split()
    return int(total), int(timed)


async def times(port: int) -> dict[str, float]:
    """When each person of the timed domain got their first mail (`time.perf_counter`), by their names there."""
    found: dict[str, float] = json.loads(await _asked(port, b"XTIMES"))
    return found


async def _asked(port: int, verb: bytes) -> bytes:
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=_LONGEST_ANSWER)
        await reader.readline()
        writer.write(verb + b"\r\n")
        answer = (await reader.readline()).partition(b" ")[2]
        writer.close()
        return answer


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
