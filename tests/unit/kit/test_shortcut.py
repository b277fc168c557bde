"""Shortcuts: whatever is sent, the answer is the one the app gives; what memory cannot vouch for, the app decides."""

import asyncio
import contextlib
import itertools
import random
import re
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from litestar.params import FromPath

from carillon.kit.auth import Caller, CallerKind
from carillon.kit.errors import NotFound, Unauthenticated, Unavailable
from carillon.kit.http.access import ApiRequest, owner_or
from carillon.kit.http.answer import Answer
from carillon.kit.http.app import build_app
from carillon.kit.http.edge import App, Receive, Scope, Send
from carillon.kit.http.envelope import Envelope
from carillon.kit.http.routing import endpoint
from carillon.kit.http.shortcut import Answering, Coming, Header, Ready, Shortcut, Written
from carillon.kit.ids import uuid7
from carillon.kit.remembered_tokens import RememberedTokens
from carillon.kit.telemetry.metrics import HTTP_SECONDS
from tests.support.http import serving
from tests.support.waiting import eventually

BELLS = "/bells/{bell_id:uuid}/tone"
OWNER, MINE, ANOTHERS = uuid7(), uuid7(), uuid7()
TOKENS = {
    "service": frozenset({"bells:*"}),
    "owner": frozenset[str](),
    "keeper": frozenset({"bells:*"}),
    "late": frozenset({"bells:read"}),
}


@dataclass
class Tower:
    """Bells and whose they are; which of them are in memory; what time it is; who was asked."""

    tones: dict[UUID, str] = field(default_factory=lambda: {OWNER: "c", MINE: "d", ANOTHERS: "é"})
    now: float = 0.0
    revoked: set[str] = field(default_factory=set)
    app_asked: int = 0
    answered: int = 0
    broken: bool = False
    cold: set[UUID] = field(default_factory=set)
    away: bool = False
    wrong: bool = False
    slow: bool = False
    looked_up: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def verify(self, token: str) -> Caller:
        if token not in TOKENS or token in self.revoked:
            raise Unauthenticated
        kind: CallerKind = "service" if token == "service" else "user"
        return Caller(OWNER, kind, TOKENS[token], expires_at=100 if token == "late" else 1e12)

    def may(self, caller: Caller, bell_id: UUID) -> bool:
        return bell_id == caller.caller_id or caller.may("bells:read")

    def told(self, bell_id: UUID) -> Ready | None:
        tone = self.tones.get(bell_id)
        return None if tone is None else Ready(Envelope({"id": bell_id, "tone": tone}), {"ETag": f'"{tone!a}"'})

    def at_hand(self, bell_id: UUID) -> Written | None:
        if self.broken:
            raise RuntimeError("the memory is wrong")
        ready = None if bell_id in self.cold else self.told(bell_id)
        return None if ready is None else Written.of(ready)

    async def look_up(self, bell_id: UUID) -> Ready:
        self.looked_up += 1
        await asyncio.wait_for(self.gate.wait(), 10) if self.slow else await asyncio.sleep(0)
        return self.found(bell_id)

    def found(self, bell_id: UUID) -> Ready:
        if self.wrong:
            raise RuntimeError("the tower is wrong")
        if self.away:
            raise Unavailable("The tower is away.", retry_after=7)
        if (ready := self.told(bell_id)) is None:
            raise NotFound("No such bell.")
        return ready

    def opened(self, *, counted: bool = False) -> tuple[App, list[Answering]]:
        tokens = RememberedTokens(self.verify, service="tower", seconds=60, clock=lambda: self.now)

        @endpoint("GET", BELLS, needs=owner_or("bells:read"), says="A tone", errors=(404,))
        async def tone(request: ApiRequest, bell_id: FromPath[UUID]) -> Answer[Envelope[dict[str, str]]]:
            if not self.may(request.auth, bell_id):
                raise NotFound("No such bell.")
            ready = self.found(bell_id)
            return Answer(ready.content, headers=ready.headers)

        shortcut = Shortcut(
            BELLS,
            may=self.may,
            at_hand=self.at_hand,
            look_up=self.look_up,
            tokens=tokens,
            service="tower",
            counted=counted,
        )
        inner = build_app("tower", [tone], authenticate=tokens, state={}, checks={}, title="Tower")

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            self.app_asked += 1
            if scope["path"].endswith("/slow"):
                await asyncio.wait_for(self.gate.wait(), 10)
            await inner(scope, receive, send)

        self.tokens = tokens
        return app, [Watched(self, shortcut)]


@dataclass
class Watched:
    tower: Tower
    shortcut: Shortcut

    def __call__(self, target: bytes, given: Sequence[Header], own: Sequence[Header]) -> bytes | Coming | None:
        answer = self.shortcut(target, given, own)
        self.tower.answered += answer is not None
        return answer


@dataclass
class Line:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self, *, ends_with_head: bool = False) -> bytes:
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = None if ends_with_head else re.search(rb"content-length: (\d+)", head)
        body = await self.reader.readexactly(int(length[1])) if length else b""
        return head + body

    async def ask(self, *packets: bytes, ends_with_head: bool = False) -> bytes:
        for packet in packets:
            self.writer.write(packet)
            await self.writer.drain()
            if len(packets) > 1:
                await asyncio.sleep(0)
        return await self.answer(ends_with_head=ends_with_head)


@contextlib.asynccontextmanager
async def line(url: str) -> AsyncIterator[Line]:
    host, _, port = url.partition("://")[2].partition(":")
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 20)
        try:
            yield Line(reader, writer)
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def tower(*, counted: bool = False) -> AsyncIterator[tuple[Tower, str]]:
    found = Tower()
    app, shortcuts = found.opened(counted=counted)
    async with serving(app, shortcuts=shortcuts) as url:
        yield found, url


def get(
    bell: UUID | str = MINE, token: str = "keeper", *more: str, path: str = "/v1/bells/{}/tone", verb: str = "GET",
    version: str = "1.1",
) -> bytes:  # fmt: skip
    lines = [f"{verb} {path.format(bell)} HTTP/{version}", "Host: x", *more]
    return "\r\n".join([*lines, f"Authorization: Bearer {token}" if token else "X-None: 1", "", ""]).encode()


def comparable(answer: bytes) -> bytes:
    """Without what differs from one second or request to the next."""
    return re.sub(rb"(date: )[^\r]+|(x-correlation-id: )[0-9a-f]{32}", rb"\1\2", answer)


PATHS = [
    "/v1/bells/{}/tone", "/v1/bells/{}/tone/", "/api/v1/bells/{}/tone", "/api/v1/bells/{}/tone/", "/v1/bells/{}/tone//",
    "/v1/bells/{}/tone?", "/v1/bells/{}/tone?as_of=1", "/v1/bells/%7B{}%7D/tone", "/v1/bells/{}%2Ftone",
    "/v1/b%65lls/{}/tone", "//v1/bells/{}/tone", "/v1//bells/{}/tone", "/v2/bells/{}/tone", "/bells/{}/tone",
    "/v1/bells/{}/tones", "/v1/bells/{}", "http://x/v1/bells/{}/tone", "/v1/bells/{}/tone#here", "/v1/bells/{}/tone%00",
    "/v1/bells/{}/tone;a=b", "/V1/bells/{}/tone",
]  # fmt: skip
BELL_NAMES: list[UUID | str] = [
    MINE, OWNER, ANOTHERS, uuid7(), str(MINE).upper(), MINE.hex, f"{{{MINE}}}", f"urn:uuid:{MINE}", f"{MINE}0", "1", "",
    str(MINE).replace("-", "_"), str(MINE)[:-1], str(MINE)[:-1] + "g",
]  # fmt: skip
GIVEN_TOKENS = ["owner", "keeper", "late", "nobody", "", "keeper ", " keeper", "keeper keeper", "kéeper"]
HEADERS = [
    "Accept: */*", "User-Agent: bell/1", "X-Correlation-ID: mine-1", "X-Correlation-ID: not good", "X-Correlation-ID:",
    "X-Correlation-ID: a\r\nX-Correlation-ID: b", "If-None-Match: *", 'If-Match: "1"', "Range: bytes=0-3", "TE: gzip",
    "Authorization: Bearer owner", "Authorization: Basic abc", "Content-Length: 0", "Connection: keep-alive",
    "Content-Type: text/plain", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 1\r\nX-Forwarded-For: 2", "Cookie: a=b",
    "X-HTTP-Method-Override: DELETE", "Traceparent: 00-1-2-03", "Connection: x, keep-alive", "Upgrade: h2c",
    "Connection: upgrade\r\nUpgrade: websocket",
]  # fmt: skip
VERBS = ["GET", "HEAD", "OPTIONS", "DELETE", "PUT", "get", "PURGE"]


def variants() -> list[bytes]:
    """Every spelling of each part by itself, and a thousand draws of all at once."""
    each = [get(path=path) for path in PATHS] + [get(bell) for bell in BELL_NAMES]
    each += [get(bell, token) for token, bell in itertools.product(GIVEN_TOKENS, (OWNER, MINE))]
    each += [get(MINE, "keeper", header) for header in HEADERS] + [get(verb=verb) for verb in VERBS if verb != "HEAD"]
    dice = random.Random(7)
    for _ in range(1_000):
        more = dice.sample(HEADERS, dice.choice([0, 0, 1, 2]))
        path, verb = dice.choice([*PATHS, *PATHS[:4] * 20]), dice.choice([*VERBS, *["GET"] * 60])
        bell, token = dice.choice([*BELL_NAMES, *BELL_NAMES[:3] * 9]), dice.choice([*GIVEN_TOKENS, *["keeper"] * 20])
        each.append(get(bell, token, *more, path=path, verb=verb))
    return [request for request in each if not request.startswith(b"HEAD")]


async def differences(found: Tower) -> AsyncIterator[tuple[bytes, bytes, bytes]]:
    """Each variant with its answer by a server with shortcuts, sent in pieces, and by one without."""
    quick_app, shortcuts = found.opened()
    full_app, _ = found.opened()
    dice = random.Random(11)
    async with serving(quick_app, shortcuts=shortcuts) as short, serving(full_app) as long, line(short) as warm:
        for token in ("owner", "keeper", "late"):
            await warm.ask(get(OWNER, token, path="/v1/bells/{}/tone?"))
        for request in variants():
            cuts = sorted(dice.sample(range(1, len(request)), dice.choice([0, 0, 1, 3])))
            packets = [request[a:b] for a, b in itertools.pairwise([0, *cuts, len(request)])]
            async with line(short) as here, line(long) as there:
                full = await there.ask(request)
                refused = full.startswith(b"HTTP/1.1 400")  # in the middle of it, and the rest would be reset
                quick = await (here.ask(request) if refused else here.ask(*packets))
            if comparable(quick) != comparable(full):
                yield request, quick, full


async def test_every_variant_is_answered_as_by_the_app() -> None:
    found = Tower()
    assert [each async for each in differences(found)] == []
    assert found.answered > 200


COLD = {OWNER, MINE, ANOTHERS}


@pytest.mark.parametrize("found", [Tower(cold=COLD), Tower(cold=COLD, away=True)])
async def test_every_variant_is_looked_up_as_by_the_app(found: Tower) -> None:
    assert [each async for each in differences(found)] == []
    assert found.looked_up > 200


async def test_what_is_not_at_hand_is_looked_up_past_the_app() -> None:
    async with tower() as (found, url), line(url) as one:
        found.cold.add(MINE)
        first, second = await one.ask(get()), await one.ask(get())

        assert (found.app_asked, found.looked_up) == (1, 1)
        assert comparable(first) == comparable(second)


@pytest.mark.parametrize(("trouble", "status"), [("away", "503"), ("wrong", "500")])
async def test_a_look_up_that_fails_is_told_and_counted(trouble: str, status: str) -> None:
    async with tower() as (found, url), line(url) as one:
        await one.ask(get())
        found.cold.add(MINE)
        setattr(found, trouble, True)
        by_app = await one.ask(get(path="/v1/bells/{}/tone?"))
        asked, before = found.app_asked, count_of(status)

        looked_up = await one.ask(get())

        assert looked_up.startswith(b"HTTP/1.1 %b" % status.encode())
        assert comparable(looked_up) == comparable(by_app)
        assert (count_of(status) - before, found.app_asked) == (1, asked)

        setattr(found, trouble, False)
        assert (await one.ask(get())).startswith(b"HTTP/1.1 200")


async def test_while_something_is_looked_up_the_requests_behind_it_wait_their_turn() -> None:
    async with tower() as (found, url), line(url) as one, line(url) as other:
        await one.ask(get())
        found.cold.add(MINE)
        found.slow = True
        names = [f"X-Correlation-ID: n{number}" for number in range(4)]
        bells = [MINE, OWNER, MINE, OWNER]

        one.writer.write(b"".join(get(bell, "keeper", name) for bell, name in zip(bells, names, strict=True)))
        await eventually(lambda: found.looked_up)
        assert (await other.ask(get(OWNER))).startswith(b"HTTP/1.1 200"), "other connections do not wait"
        found.gate.set()
        answers = [await one.answer() for _ in names]

        assert [re.findall(rb"-id: (n\d)", answer) for answer in answers] == [[b"n0"], [b"n1"], [b"n2"], [b"n3"]]
        assert (await one.ask(get(OWNER))).startswith(b"HTTP/1.1 200")


async def test_a_client_that_leaves_while_something_is_looked_up_harms_nobody() -> None:
    async with tower() as (found, url), line(url) as other:
        await other.ask(get())
        found.cold.add(MINE)
        found.slow = True
        for hang_up in ("close", "abort"):
            asked = found.looked_up
            async with line(url) as one:
                one.writer.write(get())
                await eventually(lambda asked=asked: found.looked_up > asked)  # type: ignore[misc]
                one.writer.transport.abort() if hang_up == "abort" else one.writer.close()
        found.gate.set()

        assert (await other.ask(get())).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("behind", [b"", get()[:20]], ids=["", "half a request behind it"])
async def test_what_is_being_looked_up_is_answered_before_the_server_ends(behind: bytes) -> None:
    found = Tower()
    app, shortcuts = found.opened()
    async with contextlib.AsyncExitStack() as stack:
        ending = contextlib.AsyncExitStack()
        url = await ending.enter_async_context(serving(app, shortcuts=shortcuts))
        one = await stack.enter_async_context(line(url))
        await one.ask(get())
        found.cold.add(MINE)
        found.slow = True
        one.writer.write(get() + behind)
        await eventually(lambda: found.looked_up)

        closing = asyncio.create_task(ending.aclose())
        await asyncio.sleep(0.1)  # the server has begun to end: a request without an answer holds it
        found.gate.set()

        assert (await one.answer()).startswith(b"HTTP/1.1 200")
        assert await one.reader.read() == b"", "and its connection is closed"
        await closing


@pytest.mark.parametrize(
    "request_",
    [
        get(path="/v1/bells/{}/tone?x=1"), get(path="/v1/bells/%7B{}%7D/tone"), get(MINE.hex), get(MINE, "owner"),
        get(MINE, "nobody"), get(MINE, "keeper", "If-None-Match: *"), get(MINE, "keeper", "Content-Length: 0"),
        get(MINE, "keeper", "Authorization: Bearer owner"), get(MINE, "keeper", "Expect: 100-continue"),
        get(MINE, "keeper", "Connection: close"), get(version="1.0"), get(verb="HEAD"),
        get(MINE, "keeper", "Transfer-Encoding: chunked") + b"0\r\n\r\n", get(MINE, "keeper", "Upgrade: websocket"),
    ],
)  # fmt: skip
async def test_what_is_not_plain_takes_the_ordinary_way(request_: bytes) -> None:
    async with tower() as (found, url), line(url) as one, line(url) as other:
        await one.ask(get(OWNER, "keeper"))
        await one.ask(get(OWNER, "owner"))
        asked = found.app_asked
        other.writer.write(request_)
        await other.reader.readuntil(b"\r\n\r\n")

        assert (found.app_asked, found.answered) == (asked + 1, 0)


async def test_the_first_request_is_verified_and_the_next_is_answered_from_memory() -> None:
    async with tower() as (found, url), line(url) as one:
        first, second = await one.ask(get()), await one.ask(get())

        assert comparable(first) == comparable(second)
        assert (found.app_asked, found.answered) == (1, 1)
        assert first.startswith(b"HTTP/1.1 200")
        assert b'etag: "' in second


async def test_a_revoked_token_an_expired_one_and_a_changed_value_are_not_answered_from_memory() -> None:
    async with tower() as (found, url), line(url) as one:
        for token in ("keeper", "late"):
            await one.ask(get(MINE, token))

        found.tones[MINE] = "e"
        changed = await one.ask(get())
        found.revoked.add("keeper")
        found.tokens.forget()
        revoked = await one.ask(get())
        await one.ask(get(MINE, "late"))
        found.now = 100.0
        expired = await one.ask(get(MINE, "late"))

        assert b'"tone":"e"' in changed
        assert revoked.startswith(b"HTTP/1.1 401")
        assert expired.startswith(b"HTTP/1.1 401")


async def test_answers_leave_in_the_order_of_their_requests() -> None:
    async with tower() as (found, url), line(url) as one:
        await one.ask(get())
        slow = get(path="/v1/bells/{}/slow")
        names = [f"X-Correlation-ID: n{number}" for number in range(5)]
        asked = [get(MINE, "keeper", names[0]), slow, *(get(MINE, "keeper", name) for name in names[1:])]

        one.writer.write(b"".join(asked))
        first = await one.answer()
        found.gate.set()
        rest = [await one.answer() for _ in asked[1:]]

        assert b"n0" in first
        assert rest[0].startswith(b"HTTP/1.1 404")
        assert [re.findall(rb"-id: (n\d)", answer) for answer in rest[1:]] == [[b"n1"], [b"n2"], [b"n3"], [b"n4"]]
        assert (await one.ask(get())).startswith(b"HTTP/1.1 200")


async def test_a_client_that_asks_and_never_reads_is_not_answered_without_end() -> None:
    async with tower() as (found, url), line(url) as one:
        await one.ask(get())
        found.tones[MINE] = "d" * 100_000

        one.writer.write(get() * 300)
        await eventually(lambda: found.answered)
        at_once = found.answered
        answers = [await one.answer() for _ in range(300)]

        assert at_once < 10
        assert {len(answer) for answer in answers} == {len(answers[0])}


async def test_where_requests_are_counted_only_services_are_answered_from_memory() -> None:
    async with tower(counted=True) as (found, url), line(url) as one:
        for token in ("keeper", "keeper", "service", "service"):
            assert (await one.ask(get(MINE, token))).startswith(b"HTTP/1.1 200")

        assert (found.app_asked, found.answered) == (3, 1)


async def test_a_shortcut_that_fails_is_passed_by() -> None:
    async with tower() as (found, url), line(url) as one:
        await one.ask(get())
        found.broken = True

        assert (await one.ask(get())).startswith(b"HTTP/1.1 200")
        assert found.app_asked == 2


def count_of(status: str) -> float:
    labels = {"service": "tower", "route": "/api/v1/bells/{bell_id}/tone", "method": "GET", "status": status}
    samples = [s for family in HTTP_SECONDS.collect() for s in family.samples if s.name.endswith("_count")]
    return sum(s.value for s in samples if labels.items() <= s.labels.items())


async def test_both_ways_count_under_the_same_labels() -> None:
    async with tower() as (found, url), line(url) as one:
        before = count_of("200")
        for _ in range(3):
            await one.ask(get())

        assert (found.answered, count_of("200") - before) == (2, 3)


async def test_a_connection_that_only_memory_answered_ends_with_the_server() -> None:
    started = time.monotonic()
    async with tower() as (_, url), contextlib.AsyncExitStack() as stack:
        one, other = [await stack.enter_async_context(line(url)) for _ in range(2)]
        await other.ask(get())
        await one.ask(get())
        stack.pop_all()

    assert await one.reader.read() == b""
    assert time.monotonic() - started < 8, "an idle connection held the server back"
