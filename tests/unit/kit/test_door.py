"""Doors: whatever is posted, the answer is the one the app gives; what is not plain or readable, the app decides."""

import asyncio
import contextlib
import itertools
import random
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import msgspec
import pytest
from litestar.params import JSONBody

from carillon.kit.auth import Caller, CallerKind
from carillon.kit.errors import NotFound, TooManyRequests, Unauthenticated, Unavailable
from carillon.kit.http.access import ApiRequest
from carillon.kit.http.answer import Answer
from carillon.kit.http.app import build_app
from carillon.kit.http.bodies import reading
from carillon.kit.http.door import MOST_HELD, Door, Enter
from carillon.kit.http.door import Done as Told
from carillon.kit.http.edge import App, Receive, Scope, Send
from carillon.kit.http.envelope import Envelope
from carillon.kit.http.routing import endpoint
from carillon.kit.http.shortcut import Coming, Header
from carillon.kit.ids import uuid7
from carillon.kit.telemetry.metrics import HTTP_SECONDS
from tests.support.http import serving
from tests.support.waiting import eventually
from tests.unit.kit.test_shortcut import Line, comparable, line

OWNER = uuid7()
MAY = frozenset({"bells:ring"})


class Ringing(msgspec.Struct, forbid_unknown_fields=True):
    EXAMPLES = ({"tone": "c"},)

    tone: str
    times: int = 1


read = reading(Ringing)


@dataclass
class Belfry:
    """Rings what it is asked to; who came by which way, and what goes wrong."""

    trouble: str = ""
    by_app: int = 0
    by_door: int = 0
    rung: list[str] = field(default_factory=list)
    slow: bool = False
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def verify(self, token: str) -> Caller:
        if token not in {"ringer", "service", "deaf"}:
            raise Unauthenticated
        kind: CallerKind = "service" if token == "service" else "user"
        return Caller(OWNER, kind, frozenset() if token == "deaf" else MAY, 1e12)

    def at_hand(self, token: str) -> Caller | None:
        kinds: dict[str, CallerKind] = {"ringer": "user", "service": "service", "deaf": "user"}
        if token not in kinds:
            return None
        return Caller(OWNER, kinds[token], frozenset() if token == "deaf" else MAY, 1e12)

    async def ring(self, asked: Ringing, caller: Caller) -> Told:
        if self.slow:
            await asyncio.wait_for(self.gate.wait(), 10)
        if self.trouble == "away":
            raise Unavailable("The belfry is away.", retry_after=7)
        if self.trouble == "wrong":
            raise RuntimeError("the belfry is wrong")
        if asked.tone == "x":
            raise NotFound("No such bell.")
        self.rung.append(asked.tone)
        return Told(200 if asked.tone == "again" else 202, Envelope({"tone": asked.tone, "by": caller.caller_id}))

    def opened(self, *, counted: bool = False) -> tuple[App, "Watched"]:
        @endpoint("POST", "/bells", needs="bells:ring", says="Ring", status=202, errors=(404,))
        async def route(request: ApiRequest, data: JSONBody[Ringing]) -> Answer[Envelope[dict[str, object]]]:
            status, content = await self.ring(data, request.auth)
            return Answer(content, status_code=status)

        inner = build_app(
            "belfry",
            [route],
            authenticate=self.verify,
            state={},
            checks={},
            title="Belfry",
            limit=_refuse_all if counted else None,
        )

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            self.by_app += 1
            await inner(scope, receive, send)

        door = Door(
            "/bells", needs="bells:ring", read=read, act=self.ring, tokens=self, service="belfry", counted=counted
        )
        return app, Watched(self, door)


async def _refuse_all(caller: Caller) -> dict[str, str]:
    if caller.kind == "service":
        return {}
    raise TooManyRequests("Too many.", retry_after=3)


@dataclass
class Watched:
    belfry: Belfry
    door: Door[Ringing]

    def __call__(self, target: bytes, given: Sequence[Header]) -> Enter | None:
        if (enter := self.door(target, given)) is None:
            return None

        def watched(body: bytes, own: Sequence[Header]) -> Coming | None:
            coming = enter(body, own)
            self.belfry.by_door += coming is not None
            return coming

        return watched


@contextlib.asynccontextmanager
async def belfry(*, counted: bool = False) -> AsyncIterator[tuple[Belfry, str]]:
    found = Belfry()
    app, door = found.opened(counted=counted)
    async with serving(app, doors=[door]) as url:
        yield found, url


def post(
    body: bytes = b'{"tone":"c"}', token: str = "ringer", *more: str, path: str = "/v1/bells", verb: str = "POST",
    kind: str | None = "application/json", length: str | None = None, version: str = "1.1",
) -> bytes:  # fmt: skip
    lines = [f"{verb} {path} HTTP/{version}", "Host: x", *more]
    lines += [f"Authorization: Bearer {token}"] if token else []
    lines += [f"Content-Type: {kind}"] if kind is not None else []
    lines += [f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


PATHS = [
    "/v1/bells", "/v1/bells/", "/api/v1/bells", "/api/v1/bells/", "/v1/bells//", "/v1/bells?", "/v1/bells?a=1",
    "/v1/bell", "/v1/bells/1", "/v2/bells", "/bells", "http://x/v1/bells", "/v1/b%65lls", "//v1/bells", "/V1/bells",
    "/v1/bells#x",
]  # fmt: skip
BODIES = [
    b'{"tone":"c"}', b'{"tone":"c","times":3}', b' { "tone" : "\xc3\xa9" } ', b'{"tone":"x"}', b'{"tone":"again"}',
    b"", b"{", b"null", b"[]", b"{}", b'{"tone":1}', b'{"tone":"c","colour":1}', b'{"tone":"\xff"}',
    b'{"tone":"\\ud800"}', b'{"tone":"c"}x', b"[" * 3000, b'{"tone":"' + b"c" * MOST_HELD + b'"}',
    b'{"tone":"c","times":1e999}',
]  # fmt: skip
KINDS = [
    "application/json", "application/json; charset=utf-8", "application/json;charset=utf-8", "Application/JSON",
    "application/json; charset=latin-1", "application/jsonp", "text/plain", "", None,
]  # fmt: skip
TOKENS = ["ringer", "service", "deaf", "nobody", "", "ringer ringer", "ringer "]
HEADERS = [
    "Accept: */*", "X-Correlation-ID: mine-1", "X-Correlation-ID: not good",
    "X-Correlation-ID: a\r\nX-Correlation-ID: b",
    "If-Match: *", "Content-Encoding: gzip", "Authorization: Basic abc", "Connection: keep-alive", "Cookie: a=b",
    "Content-Type: application/json", "Idempotency-Key: 7", "X-Forwarded-For: 1.2.3.4", "TE: trailers",
    "Range: bytes=0-1",
]  # fmt: skip


def variants() -> list[bytes]:
    """Every spelling of each part by itself, and some hundred draws of all at once."""
    each = [post(path=path) for path in PATHS] + [post(body) for body in BODIES] + [post(kind=kind) for kind in KINDS]
    each += [post(token=token) for token in TOKENS] + [post(BODIES[0], "ringer", more) for more in HEADERS]
    each += [post(verb=verb) for verb in ("PUT", "PATCH", "DELETE", "OPTIONS", "GET", "PURGE")]
    dice = random.Random(7)
    for _ in range(200):
        more = dice.sample(HEADERS, dice.choice([0, 0, 1, 2]))
        body, token = dice.choice([*BODIES, *BODIES[:5] * 4]), dice.choice([*TOKENS, *["ringer"] * 40])
        kind, path = dice.choice([*KINDS, *KINDS[:3] * 20]), dice.choice([*PATHS, *PATHS[:4] * 12])
        each.append(post(body, token, *more, path=path, kind=kind))
    return each


async def test_every_variant_in_whatever_pieces_is_answered_as_by_the_app() -> None:
    with_door, without = Belfry(), Belfry()
    (quick_app, door), (full_app, _) = with_door.opened(), without.opened()
    dice, different = random.Random(11), []
    async with serving(quick_app, doors=[door]) as quick, serving(full_app) as full:
        for request in variants():
            cuts = sorted(dice.sample(range(1, len(request)), dice.choice([0, 0, 1, 3])))
            async with line(quick) as one, line(full) as other:
                pieces = [request[a:b] for a, b in itertools.pairwise([0, *cuts, len(request)])]
                answers = comparable(await one.ask(*pieces)), comparable(await other.ask(request))
            if answers[0] != answers[1]:
                different.append((request[:300], *answers))

    assert different == []
    assert with_door.by_door > 60
    assert with_door.rung == without.rung


async def test_a_plain_request_is_answered_past_the_app_and_counted() -> None:
    async with belfry() as (found, url), line(url) as one:
        before = count_of("202")

        answers = [await one.ask(post()) for _ in range(3)]

        assert all(answer.startswith(b"HTTP/1.1 202 Accepted\r\n") for answer in answers)
        assert (found.by_door, found.by_app, len(found.rung), count_of("202") - before) == (3, 0, 3, 3)


@pytest.mark.parametrize(
    "request_",
    [
        post(path="/v1/bells?"), post(b"{"), post(b'{"tone":1}'), post(token="deaf"), post(token="nobody"),
        post(token=""), post(kind="text/plain"), post(kind=None),
        post(BODIES[0], "ringer", "Connection: close"), post(version="1.0"),
        post(BODIES[0], "ringer", "Authorization: Bearer service"), post(BODIES[0], "ringer", "Content-Encoding: gzip"),
        post(b'{"tone":"' + b"c" * MOST_HELD + b'"}'), post(b"", length="0"),
        post(b"", "ringer", "Expect: 100-continue") + BODIES[0], post(b"", length="9" * 18), post(verb="PUT"),
    ],
)  # fmt: skip
async def test_what_is_not_plain_or_cannot_be_read_takes_the_ordinary_way(request_: bytes) -> None:
    async with belfry() as (found, url), line(url) as one:
        one.writer.write(request_)
        await one.reader.readuntil(b"\r\n\r\n")

        assert (found.by_app, found.by_door) == (1, 0)


async def test_a_body_in_chunks_takes_the_ordinary_way() -> None:
    async with belfry() as (found, url), line(url) as one:
        head = (
            b"POST /v1/bells HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ringer\r\nContent-Type: application/json\r\n"
        )
        one.writer.write(head + b'Transfer-Encoding: chunked\r\n\r\nc\r\n{"tone":"c"}\r\n0\r\n\r\n')

        assert (await one.answer()).startswith(b"HTTP/1.1 202")
        assert (found.by_app, found.by_door) == (1, 0)


@pytest.mark.parametrize(("trouble", "status"), [("away", "503"), ("wrong", "500")])
async def test_a_failure_is_told_as_by_the_app_and_counted(trouble: str, status: str) -> None:
    async with belfry() as (found, url), line(url) as one:
        found.trouble = trouble
        by_app, before = await one.ask(post(path="/v1/bells?")), count_of(status)

        by_door = await one.ask(post())

        assert by_door.startswith(b"HTTP/1.1 %b" % status.encode())
        assert comparable(by_door) == comparable(by_app)
        assert (count_of(status) - before, found.by_door) == (1, 1)


async def test_where_requests_are_counted_the_ordinary_way_decides_for_all_but_services() -> None:
    async with belfry(counted=True) as (found, url), line(url) as one:
        assert (await one.ask(post())).startswith(b"HTTP/1.1 429")
        assert (await one.ask(post(token="service"))).startswith(b"HTTP/1.1 202")
        assert (found.by_app, found.by_door) == (1, 1)


async def test_answers_leave_in_the_order_of_their_requests() -> None:
    async with belfry() as (found, url), line(url) as one, line(url) as other:
        found.slow = True
        names = [f"X-Correlation-ID: n{number}" for number in range(5)]
        bodies = [b'{"tone":"c"}', b"{", b'{"tone":"x"}', b'{"tone":"d"}', b'{"tone":"e"}']

        one.writer.write(b"".join(post(body, "ringer", name) for body, name in zip(bodies, names, strict=True)))
        other.writer.write(post(b'{"tone":"other"}'))
        await eventually(lambda: found.by_door > 1, says="both lines have entered")
        found.gate.set()
        answers = [await one.answer() for _ in names]

        assert [re.findall(rb"-id: (n\d)", answer) for answer in answers] == [[b"n%d" % n] for n in range(5)]
        assert [answer[9:12] for answer in answers] == [b"202", b"400", b"404", b"202", b"202"]
        assert (await other.answer()).startswith(b"HTTP/1.1 202")


async def test_a_caller_who_hangs_up_is_served_and_harms_nobody() -> None:
    async with belfry() as (found, url), line(url) as other:
        found.slow = True
        for hang_up in ("close", "abort"):
            entered = found.by_door
            async with line(url) as one:
                one.writer.write(post(b'{"tone":"gone"}'))
                await eventually(lambda entered=entered: found.by_door > entered)  # type: ignore[misc]
                one.writer.transport.abort() if hang_up == "abort" else one.writer.close()
        async with line(url) as half:
            half.writer.write(post()[:-4])
            await half.writer.drain()
        found.gate.set()

        assert (await other.ask(post())).startswith(b"HTTP/1.1 202")
        assert found.rung == ["gone", "gone", "c"]


@pytest.mark.parametrize(
    ("behind", "answers"),
    [(b"", 1), (post()[:20], 1), (post()[:-4], 1), (post() + post()[:-4], 2), (post() + post()[:20], 2)],
    ids=["", "half a head behind it", "half a body", "a request and half a body", "a request and half a head"],
)
async def test_who_has_entered_is_answered_before_the_server_ends(behind: bytes, answers: int) -> None:
    found = Belfry(slow=True)
    app, door = found.opened()
    ending = contextlib.AsyncExitStack()
    url = await ending.enter_async_context(serving(app, doors=[door]))
    async with line(url) as one:
        one.writer.write(post() + behind)
        await eventually(lambda: found.by_door)

        closing = asyncio.create_task(ending.aclose())
        await asyncio.sleep(0.1)  # the server has begun to end: a request without an answer holds it
        found.gate.set()

        told = [await one.answer() for _ in range(answers)]
        assert [answer[9:12] for answer in told] == [b"202"] * answers
        assert [b"connection: close" in answer for answer in told] == [False] * (answers - 1) + [True]
        assert await one.reader.read() == b"", "and its connection is closed"
        async with asyncio.timeout(10):
            await closing
        assert found.rung == ["c"] * answers


async def test_a_door_that_fails_leaves_the_ordinary_way() -> None:
    found = Belfry()
    app, _ = found.opened()

    def broken(target: bytes, given: object) -> Enter | None:
        if target.endswith(b"/"):
            raise RuntimeError("the door is stuck")

        def enter(body: bytes, own: object) -> None:
            raise RuntimeError("the door is stuck half way")

        return enter

    async with serving(app, doors=[broken]) as url, line(url) as one:
        answers = [await _whole(one, path) for path in ("/v1/bells", "/v1/bells/")]

    assert [answer[9:12] for answer in answers] == [b"202", b"202"]
    assert found.by_app == 2


async def _whole(one: Line, path: str) -> bytes:
    return await one.ask(post(path=path))


def count_of(status: str) -> float:
    labels = {"service": "belfry", "route": "/api/v1/bells", "method": "POST", "status": status}
    samples = [s for family in HTTP_SECONDS.collect() for s in family.samples if s.name.endswith("_count")]
    return sum(s.value for s in samples if labels.items() <= s.labels.items())
