"""A shortcut answers past the server's cycle and the app, and nobody can tell: from memory in the turn in which a
request arrives, and what has to be looked up as soon as it is there."""

import re
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol, Self
from uuid import UUID

import structlog

from carillon.kit.auth import Caller
from carillon.kit.errors import Crashed, Problem
from carillon.kit.http.answer import encoded
from carillon.kit.http.envelope import refusal
from carillon.kit.telemetry import correlation
from carillon.kit.telemetry.metrics import HTTP_SECONDS

_log = structlog.get_logger()

Header = tuple[bytes, bytes]
Coming = Coroutine[Any, Any, bytes]
"""An answer that has to be waited for; it raises nothing."""
Answering = Callable[[bytes, Sequence[Header], Sequence[Header]], bytes | Coming | None]
"""Of a GET's target, its headers and those that the server adds: the whole answer, or None for the ordinary way."""

_PARAMETER = re.compile(r"\{(\w+):uuid\}")
_UUID = b"([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"
BEARER = re.compile(rb"[Bb]earer ([!-~]+)")
CORRELATION = correlation.HEADER.lower().encode()
# Those that change nothing about an answer from memory. Any other, one of tomorrow too, takes the ordinary way.
PLAIN = frozenset(
    b"host user-agent accept accept-encoding accept-language authorization connection cache-control pragma dnt "
    b"x-correlation-id x-request-id traceparent tracestate baggage forwarded via x-forwarded-for x-forwarded-host "
    b"x-forwarded-port x-forwarded-proto x-real-ip".split()
)


class Ready(NamedTuple):
    """An answer of status 200 for which nobody need wait: what to encode, and the headers beside it."""

    content: Any
    headers: Mapping[str, str] = {}


class Written(NamedTuple):
    """As `Ready`, written down: the lines of its head, and its body."""

    head: bytes
    body: bytes

    @classmethod
    def of(cls, ready: Ready) -> Self:
        headers, body = encoded(ready.content, ready.headers)
        return cls(lines(headers), body)


class Tokens(Protocol):
    """Tokens that are remembered."""

    def at_hand(self, token: str) -> Caller | None: ...

    def count(self) -> None: ...


May = Callable[[Caller, UUID], bool]
AtHand = Callable[[UUID], Written | None]
LookUp = Callable[[UUID], Awaitable[Ready]]


class Shortcut:
    """One GET route of one service. `path` is the route's own, `/users/{user_id:uuid}/preferences`, and its parameter
    what is asked about: whether the caller `may`, what of it is `at_hand`, and what a `look_up` tells, which may raise
    problems. The ordinary way decides all that is not plain and whatever the caller may not; where requests are
    `counted`, so it does for all whom the count is about.
    """

    def __init__(
        self,
        path: str,
        *,
        may: May,
        at_hand: AtHand,
        look_up: LookUp,
        tokens: Tokens,
        service: str,
        counted: bool = False,
    ) -> None:
        before, after = (re.escape(part).encode() for part in _PARAMETER.split(path)[::2])
        self.route = "/api/v1" + _PARAMETER.sub(r"{\1}", path)
        self._path = re.compile(b"(?:/api)?/v1%b%b%b/?" % (before, _UUID, after))
        self._may = may
        self._at_hand = at_hand
        self._look_up = look_up
        self._tokens = tokens
        self._counted = counted
        self._own: Sequence[Header] | None = None
        self._own_lines = b""
        self._service = service
        self._seconds = HTTP_SECONDS.labels(service, "GET", self.route, "200")

    def __call__(self, target: bytes, given: Sequence[Header], own: Sequence[Header]) -> bytes | Coming | None:
        started = time.perf_counter()
        if (asked := self._asked(target, given)) is None:
            return None
        written = self._at_hand(asked)
        self._tokens.count()
        if own is not self._own:  # the server makes a new list each second
            self._own, self._own_lines = own, lines(own)
        identity = next((value for name, value in given if name == CORRELATION), None)
        if written is None:
            return self._looked_up(asked, identity, self._own_lines, started)
        answer = whole(_OK, self._own_lines, written, identity_of(identity))
        self._seconds.observe(time.perf_counter() - started)
        return answer

    async def _looked_up(self, asked: UUID, identity: bytes | None, own_lines: bytes, started: float) -> bytes:
        """What becomes of it, as the app would say it."""
        bound = correlation.bind(identity.decode("latin-1") if identity else None).encode()
        line, seconds = _OK, self._seconds
        try:
            written = Written.of(await self._look_up(asked))
        except Exception as error:  # noqa: BLE001 - whatever it fails of, somebody waits for an answer
            problem = problem_of(error, "GET", self.route)
            headers, body = refusal(problem)
            line, written = status_line(problem.status), Written(lines(headers), body)
            seconds = HTTP_SECONDS.labels(self._service, "GET", self.route, str(problem.status))
        seconds.observe(time.perf_counter() - started)
        return whole(line, own_lines, written, bound)

    def _asked(self, target: bytes, given: Sequence[Header]) -> UUID | None:
        """What is asked about, where the request is plain and the caller is known and may."""
        if (found := self._path.fullmatch(target)) is None:
            return None
        headers = dict(given)
        if len(headers) != len(given) or not headers.keys() <= PLAIN:
            return None
        token = BEARER.fullmatch(headers.get(b"authorization", b""))
        caller = self._tokens.at_hand(token[1].decode()) if token else None
        if caller is None or (self._counted and caller.kind != "service"):
            return None
        asked = UUID(found[1].decode())
        return asked if self._may(caller, asked) else None


def problem_of(error: Exception, method: str, route: str) -> Problem:
    """What to tell of it; a mistake of ours is logged as the framework's are."""
    problem = error if isinstance(error, Problem) else Crashed()
    if problem is not error:
        _log.error("request_crashed", method=method, route=route, exc_info=error)
    elif problem.status >= 500:  # noqa: PLR2004
        _log.warning("request_failed", code=problem.code, reason=problem.message)
    return problem


def status_line(status: int) -> bytes:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()


_OK = status_line(200)


def whole(line: bytes, own_lines: bytes, written: Written, identity: bytes) -> bytes:
    return b"".join((line, own_lines, written.head, CORRELATION, b": ", identity, b"\r\n\r\n", written.body))


def lines(headers: Sequence[Header]) -> bytes:
    return b"".join(b"%b: %b\r\n" % header for header in headers)


def identity_of(given: bytes | None) -> bytes:
    return correlation.accepted(given.decode("latin-1") if given else None).encode()
