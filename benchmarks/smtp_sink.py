"""A mail server that accepts everything, in a process of its own: `python -m benchmarks.smtp_sink PORT`."""

import asyncio
import sys
from typing import cast

import uvloop


class Sink(asyncio.Protocol):
    """Speaks enough SMTP for a client that pipelines or not; `XCOUNT` answers how many mails it has taken."""

    taken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._buffer, self._in_data = cast(asyncio.Transport, transport), b"", False
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
            answers.append(self._take() if self._in_data else self._answer(line[:4].upper()))
        if answers:
            self._transport.write(b"".join(answers))

    def _take(self) -> bytes:
        self._in_data = False
        Sink.taken += 1
        return b"250 taken\r\n"

    def _answer(self, verb: bytes) -> bytes:
        if verb == b"EHLO":
            return b"250-sink\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 PIPELINING\r\n"
        if verb == b"DATA":
            self._in_data = True
            return b"354 go on\r\n"
        if verb == b"XCOU":
            return b"250 %d\r\n" % Sink.taken
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
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readline()
        writer.write(b"XCOUNT\r\n")
        count = int((await reader.readline()).split()[1])
        writer.close()
        return count


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
