"""A shortcut answers from memory in the turn in which a request arrives: no task, no app, and nobody can tell."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol
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


class Tokens(Protocol):
    """Tokens that are remembered."""

    def at_hand(self, token: str) -> Caller | None: ...

    def count(self) -> None: ...


class Shortcut:
    """One GET route of one service. `path` is the route's own, `/users/{user_id:uuid}/preferences`; `answer` gets its
    parameter and the caller, and returns None wherever memory does not suffice or the caller may not: the ordinary
    way decides all that is not plain. Where requests are `counted`, so does it for all whom the count is about.
    """

    def __init__(
        self,
        path: str,
        answer: Callable[[UUID, Caller], Ready | None],
        *,
        tokens: Tokens,
        service: str,
        counted: bool = False,
    ) -> None:
        before, after = (re.escape(part).encode() for part in _PARAMETER.split(path)[::2])
        self._path = re.compile(b"(?:/api)?/v1%b%b%b/?" % (before, _UUID, after))
        self._answer = answer
        self._tokens = tokens
        self._counted = counted
        self._seconds = HTTP_SECONDS.labels(service, "GET", "/api/v1" + _PARAMETER.sub(r"{\1}", path), "200")

    def __call__(self, target: bytes, given: Sequence[Header], own: Sequence[Header]) -> bytes | None:
        if (found := self._path.fullmatch(target)) is None:
            return None
        started = time.perf_counter()
        headers = dict(given)
        if len(headers) != len(given) or not headers.keys() <= _PLAIN:
            return None
        token = _BEARER.fullmatch(headers.get(b"authorization", b""))
        caller = self._tokens.at_hand(token[1].decode()) if token else None
        if caller is None or (self._counted and caller.kind != "service"):
            return None
        ready = self._answer(UUID(found[1].decode()), caller)
        if ready is None:
            return None
        self._tokens.count()
        answer = _written(ready, own, headers.get(_CORRELATION))
        self._seconds.observe(time.perf_counter() - started)
        return answer


def _written(ready: Ready, own: Sequence[Header], given: bytes | None) -> bytes:
    headers, body = encoded(ready.content, ready.headers)
    identity = correlation.accepted(given.decode("latin-1") if given else None).encode()
    lines = [name + b": " + value for name, value in (*own, *headers, (_CORRELATION, identity))]
    return b"\r\n".join((b"HTTP/1.1 200 OK", *lines, b"", body))
