"""The link to RabbitMQ goes on trying, whatever becomes of an attempt."""

import asyncio
import contextlib
from itertools import count

import pytest

from carillon.contracts.channels import topology
from carillon.kit.broker.port import Tuning
from carillon.kit.broker.rabbitmq.link import Link, Session
from tests.support.waiting import eventually

GREETING = b"AMQP\x00\x00\x09\x01"


@pytest.mark.parametrize(
    "said",
    [b"", b"A", GREETING, b"\x01\x00", b"\x01\x00\x00\x00\x00\x00\x08half", b"HTTP/1.1 400 Bad Request\r\n\r\n"],
    ids=["nothing", "one byte", "a greeting", "half a head", "half a frame", "another protocol"],
)
async def test_a_server_that_goes_away_in_the_middle_of_the_handshake_is_asked_again(said: bytes) -> None:
    asked = count(1)
    last = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal last
        last = next(asked)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readexactly(len(GREETING))
            writer.write(said)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    link = Link(f"amqp://guest:guest@127.0.0.1:{port}/", topology((1.0,)), name="test", tuning=Tuning())
    keeping = asyncio.create_task(link.keep_up())
    try:
        await eventually(lambda: last >= 3 or keeping.done(), within=30)
        assert not keeping.done(), "the link has given up"
        assert last >= 3
    finally:
        keeping.cancel()
        await asyncio.wait([keeping], timeout=10)
        server.close()


class Tripping(Link):
    """Connects with a library that stumbles: a connection that ended before its first frame was read raised
    StopAsyncIteration, which is no AMQPError."""

    def __init__(self, *trouble: BaseException) -> None:
        super().__init__("amqp://guest:guest@127.0.0.1:1/", topology((1.0,)), name="test", tuning=Tuning())
        self.left = list(trouble)
        self.tried = 0

    async def _connect(self) -> Session:
        self.tried += 1
        raise self.left.pop(0) if self.left else ConnectionRefusedError


@pytest.mark.parametrize("trouble", [StopAsyncIteration(), asyncio.CancelledError(), KeyError("frame")])
async def test_nothing_that_the_library_raises_ends_the_trying(trouble: BaseException) -> None:
    link = Tripping(trouble)
    keeping = asyncio.create_task(link.keep_up())
    try:
        await eventually(lambda: link.tried >= 3 or keeping.done(), within=30)
        assert not keeping.done(), "the link has given up"
    finally:
        keeping.cancel()
        await asyncio.wait([keeping], timeout=10)
    assert keeping.cancelled()
