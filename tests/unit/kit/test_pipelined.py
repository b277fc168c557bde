"""Requests sent before the answer to the one before: what is wrong with one overtakes no answer that is owed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from litestar.params import JSONBody

from carillon.kit.auth import Caller
from carillon.kit.errors import Unauthenticated
from carillon.kit.http.access import ANYONE
from carillon.kit.http.app import build_app
from carillon.kit.http.envelope import Envelope
from carillon.kit.http.routing import endpoint
from tests.support.http import serving
from tests.support.waiting import eventually

SLOW = b"GET /v1/slow HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"POST /v1/read HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
UNFINISHED = {"nothing of a head": b"G", "half a head": SLOW[:20], "half a body": HEAD + b"Content-Length: 9\r\n\r\n{"}
UNREADABLE = {
    "no HTTP": (b"nonsense\r\n\r\n", b"400"),
    "a chunk of no length": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", b"400"),
    "a head without end": (b"GET / HTTP/1.1\r\n" + b"X-More: a\r\n" * 8_000, b"431"),
}


@dataclass
class Slow:
    """A route that answers once the gate is open. A line has had an answer: its time does not run from connecting."""

    asked: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    @contextlib.asynccontextmanager
    async def line(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        @endpoint("GET", "/slow", needs=ANYONE, says="Late")
        async def slow() -> Envelope[str]:
            self.asked += 1
            async with asyncio.timeout(20):
                await self.gate.wait()
            return Envelope("late")

        @endpoint("POST", "/read", needs=ANYONE, says="What was read")
        async def read(data: JSONBody[dict[str, int]]) -> Envelope[dict[str, int]]:
            return Envelope(data)

        app = build_app("slow", [slow, read], authenticate=nobody, state={}, checks={}, title="Slow")
        async with serving(app) as url:
            host, port = url.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                async with asyncio.timeout(20):
                    writer.write(b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n")
                    await reader.readuntil(b"}")
                    yield reader, writer
            finally:
                writer.close()


async def nobody(token: str) -> Caller:
    del token
    raise Unauthenticated


def statuses(told: bytes) -> list[bytes]:
    return [part[:3] for part in told.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize("requests", [1, 2])
@pytest.mark.parametrize("begun", UNFINISHED.values(), ids=UNFINISHED.keys())
async def test_what_is_never_finished_is_ended_after_the_answers_that_are_owed(
    monkeypatch: pytest.MonkeyPatch, begun: bytes, requests: int
) -> None:
    slow = Slow()
    async with slow.line() as (reader, writer):
        monkeypatch.setattr("carillon.kit.http.protocol.PATIENCE", 0.05)
        writer.write(SLOW * requests + begun)
        await eventually(lambda: slow.asked)
        with pytest.raises(TimeoutError):  # several times as long as it has
            async with asyncio.timeout(0.3):
                await reader.readexactly(1)
        slow.gate.set()

        assert statuses(await reader.read()) == [b"200"] * requests + [b"408"]


async def test_its_time_begins_with_the_last_answer_that_was_owed(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()
    body = b'{"a": 1}'
    async with slow.line() as (reader, writer):
        monkeypatch.setattr("carillon.kit.http.protocol.PATIENCE", 0.05)
        writer.write(SLOW + HEAD + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body[:3])
        await eventually(lambda: slow.asked)
        await asyncio.sleep(0.2)  # several times as long as it has
        monkeypatch.setattr("carillon.kit.http.protocol.PATIENCE", 20)
        slow.gate.set()
        first = await reader.readuntil(b"late")
        await asyncio.sleep(0.2)
        writer.write(body[3:])

        assert statuses(first + await reader.read()) == [b"200", b"200"]


@pytest.mark.parametrize("requests", [1, 2])
@pytest.mark.parametrize(("sent", "status"), UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_what_cannot_be_read_is_refused_after_the_answers_that_are_owed(
    sent: bytes, status: bytes, requests: int
) -> None:
    slow = Slow()
    async with slow.line() as (reader, writer):
        writer.write(SLOW * requests)
        await eventually(lambda: slow.asked)
        writer.write(sent)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await reader.readexactly(1)
        slow.gate.set()

        assert statuses(await reader.read()) == [b"200"] * requests + [status]


async def test_what_was_answered_before_its_body_came_is_answered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Slow().line() as (reader, writer):
        monkeypatch.setattr("carillon.kit.http.protocol.PATIENCE", 0.05)
        writer.write(HEAD.replace(b"/read", b"/slow") + b"Content-Length: 9\r\n\r\n{")

        assert statuses(await reader.read()) == [b"405"]


@pytest.mark.parametrize("whole", [SLOW, HEAD + b'Content-Length: 8\r\n\r\n{"a": 1}'], ids=["no bodies", "bodies"])
async def test_whole_requests_before_a_head_in_one_packet_are_no_part_of_it(
    monkeypatch: pytest.MonkeyPatch, whole: bytes
) -> None:
    monkeypatch.setattr("carillon.kit.http.protocol.MAX_HEAD", 8_000)
    slow, last = Slow(), SLOW.replace(b"Host", b"Connection: close\r\nHost")
    slow.gate.set()
    async with slow.line() as (reader, writer):
        writer.write(whole * 300 + last[:20])
        first = await reader.readuntil(b"HTTP/1.1")
        writer.write(last[20:])

        assert statuses(first + await reader.read()) == [b"200"] * 301
