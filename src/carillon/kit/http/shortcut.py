"""A shortcut answers from memory in the turn in which a request arrives: no task, no app, and nobody can tell."""

import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self
from uuid import UUID

from carillon.kit.auth import Caller
from carillon.kit.http.answer import encoded
from carillon.kit.telemetry import correlation
from carillon.kit.telemetry.metrics import HTTP_SECONDS

Header = tuple[bytes, bytes]
Answering = Callable[[bytes, Sequence[Header], Sequence[Header]], bytes | None]
"""Of a GET's target, its headers and those that the server adds: the whole answer, or None for the ordinary way."""

_PARAMETER = re.compile(r"\{(\w+):uuid\}")
_UUID = b"([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"
_BEARER = re.compile(rb"[Bb]earer ([!-~]+)")
_CORRELATION = correlation.HEADER.lower().encode()
# Those that change nothing about an answer from memory. Any other, one of tomorrow too, takes the ordinary way.
_PLAIN = frozenset(
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
        return cls(_lines(headers), body)


class Tokens(Protocol):
    """Tokens that are remembered."""

    def at_hand(self, token: str) -> Caller | None: ...

    def count(self) -> None: ...


AtHand = Callable[[UUID, Caller], Written | None]
LookUp = Callable[[UUID, Caller], Awaitable[Ready | None]]


class Shortcut:
    """One GET route of one service. `path` is the route's own, `/users/{user_id:uuid}/preferences`. `at_hand` and
    `look_up` get its parameter and the caller, and return None where memory does not suffice or the caller may not:
    the ordinary way decides all that is not plain. Where requests are `counted`, so does it for all whom the count is
    about.
    """

    def __init__(
        self, path: str, *, at_hand: AtHand, look_up: LookUp, tokens: Tokens, service: str, counted: bool = False
    ) -> None:
        before, after = (re.escape(part).encode() for part in _PARAMETER.split(path)[::2])
        self.route = "/api/v1" + _PARAMETER.sub(r"{\1}", path)
        self._path = re.compile(b"(?:/api)?/v1%b%b%b/?" % (before, _UUID, after))
        self._at_hand = at_hand
        self._look_up = look_up
        self._tokens = tokens
        self._counted = counted
        self._own: Sequence[Header] | None = None
        self._own_lines = b""
        self._seconds = HTTP_SECONDS.labels(service, "GET", self.route, "200")

    def __call__(self, target: bytes, given: Sequence[Header], own: Sequence[Header]) -> bytes | None:
        """From memory, in this turn."""
        started = time.perf_counter()
        if (asked := self._asked(target, given)) is None or (written := self._at_hand(*asked)) is None:
            return None
        self._tokens.count()
        if own is not self._own:  # the server makes a new list each second
            self._own, self._own_lines = own, b"HTTP/1.1 200 OK\r\n" + _lines(own)
        identity = next((value for name, value in given if name == _CORRELATION), None)
        answer = b"".join(
            (self._own_lines, written.head, _CORRELATION, b": ", _identity(identity), b"\r\n\r\n", written.body)
        )
        self._seconds.observe(time.perf_counter() - started)
        return answer

    async def look_up(self, target: bytes, given: Sequence[Header]) -> Ready | None:
        """Whatever it takes. Raises the problems that the ordinary way would."""
        if (asked := self._asked(target, given)) is None or (ready := await self._look_up(*asked)) is None:
            return None
        self._tokens.count()
        return ready

    def _asked(self, target: bytes, given: Sequence[Header]) -> tuple[UUID, Caller] | None:
        if (found := self._path.fullmatch(target)) is None:
            return None
        headers = dict(given)
        if len(headers) != len(given) or not headers.keys() <= _PLAIN:
            return None
        token = _BEARER.fullmatch(headers.get(b"authorization", b""))
        caller = self._tokens.at_hand(token[1].decode()) if token else None
        if caller is None or (self._counted and caller.kind != "service"):
            return None
        return UUID(found[1].decode()), caller


def _lines(headers: Sequence[Header]) -> bytes:
    return b"".join(b"%b: %b\r\n" % header for header in headers)


def _identity(given: bytes | None) -> bytes:
    return correlation.accepted(given.decode("latin-1") if given else None).encode()
