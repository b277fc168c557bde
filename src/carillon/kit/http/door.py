"""A door lets the plain requests of one POST route past the server's cycle and the app, and nobody can tell: the same
reading, the same action, the same answer. Whatever is not plain, or cannot be read, the app decides."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from carillon.kit.auth import Caller
from carillon.kit.errors import Problem
from carillon.kit.http.edge import API
from carillon.kit.http.envelope import refusal
from carillon.kit.http.shortcut import (
    BEARER,
    CORRELATION,
    PLAIN,
    Coming,
    Header,
    Ready,
    Written,
    lines,
    problem_of,
    status_line,
    whole,
)
from carillon.kit.telemetry import correlation
from carillon.kit.telemetry.metrics import HTTP_SECONDS

T = TypeVar("T")

MOST_HELD = 64 * 1024
"""Bytes of a body that is held until it is whole; a longer one goes the way of all bodies."""

_PLAIN = PLAIN | {b"content-type", b"content-length"}
_JSON = frozenset({b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"})
_DIGITS = len(str(MOST_HELD))

Enter = Callable[[bytes, Sequence[Header]], Coming | None]
"""Of a whole body and the headers that the server adds: the answer to come, or None for the ordinary way."""
Admitting = Callable[[bytes, Sequence[Header]], Enter | None]
"""Of a POST's target and its headers: how its body enters, or None for the ordinary way."""


class KnownTokens(Protocol):
    """Tokens that are remembered."""

    def at_hand(self, token: str) -> Caller | None:
        """Whose token it is, where nobody need be asked; counted as a look-up."""
        ...


class Done(NamedTuple):
    """An answer without headers of its own: its status, and what to encode."""

    status: int
    content: Any


class Door(Generic[T]):
    """One POST route of one service. `path` and `needs` are the route's own; `read` is its decoder, which raises
    problems, and `act` what it does with what was read, for which it may raise problems too. Where requests are
    `counted`, the ordinary way decides for all whom the count is about.
    """

    def __init__(
        self,
        path: str,
        *,
        needs: str,
        read: Callable[[bytes], T],
        act: Callable[[T, Caller], Awaitable[Done]],
        tokens: KnownTokens,
        service: str,
        counted: bool = False,
    ) -> None:
        self.route = API + path
        bare = self.route.encode()
        self._targets = frozenset({bare, bare + b"/", bare.removeprefix(b"/api"), bare.removeprefix(b"/api") + b"/"})
        self._needs = needs
        self._read = read
        self._act = act
        self._tokens = tokens
        self._service = service
        self._counted = counted
        self._own: Sequence[Header] | None = None
        self._own_lines = b""
        self._lines: dict[int, tuple[bytes, Any]] = {}

    def __call__(self, target: bytes, given: Sequence[Header]) -> Enter | None:
        if target not in self._targets:
            return None
        started, headers = time.perf_counter(), dict(given)
        if len(headers) != len(given) or not headers.keys() <= _PLAIN or not _is_small_json(headers):
            return None
        token = BEARER.fullmatch(headers.get(b"authorization", b""))
        caller = self._tokens.at_hand(token[1].decode()) if token else None
        if caller is None or (self._counted and caller.kind != "service") or not caller.may(self._needs):
            return None
        identity = headers.get(CORRELATION)

        def enter(body: bytes, own: Sequence[Header]) -> Coming | None:
            try:
                asked = self._read(body)
            except Problem:  # the ordinary way tells what is wrong
                return None
            if own is not self._own:  # the server makes a new list each second
                self._own, self._own_lines = own, lines(own)
            return self._answered(asked, caller, identity, self._own_lines, started)

        return enter

    async def _answered(self, asked: T, caller: Caller, identity: bytes | None, own: bytes, started: float) -> bytes:
        """What becomes of it, as the app would say it."""
        bound = correlation.bind(identity.decode("latin-1") if identity else None).encode()
        try:
            status, content = await self._act(asked, caller)
            written = Written.of(Ready(content))
        except Exception as error:  # noqa: BLE001 - whatever it fails of, somebody waits for an answer
            problem = problem_of(error, "POST", self.route)
            headers, body = refusal(problem)
            status, written = problem.status, Written(lines(headers), body)
        line, seconds = self._lines.get(status) or self._line(status)
        seconds.observe(time.perf_counter() - started)
        return whole(line, own, written, bound)

    def _line(self, status: int) -> tuple[bytes, Any]:
        seconds = HTTP_SECONDS.labels(self._service, "POST", self.route, str(status))
        found = self._lines[status] = status_line(status), seconds
        return found


def _is_small_json(headers: dict[bytes, bytes]) -> bool:
    """Said to be so; and of a length that is told, which whoever sends it in pieces does not tell."""
    length = headers.get(b"content-length", b"")
    small = length.isdigit() and len(length) <= _DIGITS and 0 < int(length) <= MOST_HELD
    return small and headers.get(b"content-type") in _JSON
