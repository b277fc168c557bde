"""Requests seen from outside the app: a span for each where traces are on, a line for each where the log is at debug.

Where neither is wanted nothing of this stands in the way of a request.
"""

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from carillon.kit.http.door import Admitting, Enter
from carillon.kit.http.edge import App, Message, Receive, Scope, Send
from carillon.kit.http.shortcut import CORRELATION, Answering, Coming, Header
from carillon.kit.telemetry import correlation
from carillon.kit.telemetry.tracing import TRACING

if TYPE_CHECKING:
    from opentelemetry.trace import Span

_log = structlog.get_logger()
_OF_TRACES = (b"traceparent", b"tracestate")
_PROBES = ("/health", "/ready", "/metrics", "/.well-known/")
"""Asked every few seconds by machines: a trace of each would bury the others."""
_STATUS = slice(9, 12)
"""Of an answer as it is written: `HTTP/1.1 202 Accepted`."""


def wanted() -> bool:
    return TRACING.spans is not None or bool(_log.is_enabled_for(logging.DEBUG))


class _Seen:
    """One request, from when it is whole until it is answered."""

    def __init__(self, method: str, given: Sequence[Header], route: str = "", *, began: float | None = None) -> None:
        self._method = method
        self._route = route
        self._began = time.perf_counter() if began is None else began
        self._span: Span | None = None
        if (spans := TRACING.spans) is not None:
            told = {name.decode(): value.decode("latin-1") for name, value in given if name in _OF_TRACES}
            attributes = {"http.request.method": method, "url.scheme": "http"}
            self._span = spans.begin(f"{method} {route}".strip(), "server", attributes, headers=told)

    def enter(self) -> None:
        """What is done in this task from now on is part of it."""
        if self._span is not None and TRACING.spans is not None:
            TRACING.spans.enter(self._span)

    def ended(self, status: int, *, route: str = "", identity: str = "") -> None:
        route, identity = route or self._route, identity or correlation.current()
        milliseconds = round((time.perf_counter() - self._began) * 1000, 1)
        _log.debug(
            "request_answered",
            method=self._method,
            route=route,
            status=status,
            milliseconds=milliseconds,
            correlation_id=identity,
        )
        if self._span is not None and TRACING.spans is not None:
            if route:
                self._span.update_name(f"{self._method} {route}")
                self._span.set_attribute("http.route", route)
            self._span.set_attribute("carillon.correlation_id", identity)
            TRACING.spans.answered(self._span, status)
            self._span.end()


def observed_app(app: App) -> App:
    """The whole front door; probes pass unseen."""

    async def observed(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_PROBES):
            await app(scope, receive, send)
            return
        status, seen = 500, _Seen(scope["method"], scope["headers"])

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        seen.enter()
        try:
            await app(scope, receive, noting)
        finally:
            seen.ended(status, route=scope.get("path_template") or "")

    return observed


def observed_door(door: Admitting) -> Admitting:
    """A door whose every guest is seen; `route` is told where the door has one."""
    route = getattr(door, "route", "")

    def admit(target: bytes, given: Sequence[Header]) -> Enter | None:
        enter = door(target, given)
        if enter is None:
            return None

        def entered(body: bytes, own: Sequence[Header]) -> Coming | None:
            coming = enter(body, own)
            return None if coming is None else _through(coming, _Seen("POST", given, route))

        return entered

    return admit


def observed_shortcut(shortcut: Answering) -> Answering:
    route = getattr(shortcut, "route", "")

    def answering(target: bytes, given: Sequence[Header], own: Sequence[Header]) -> bytes | Coming | None:
        began = time.perf_counter()
        answer = shortcut(target, given, own)
        if answer is None:
            return None
        seen = _Seen("GET", given, route, began=began)
        if not isinstance(answer, bytes):
            return _through(answer, seen)
        identity = next((value.decode("latin-1") for name, value in given if name == CORRELATION), "")
        seen.ended(int(answer[_STATUS]), identity=identity)
        return answer

    return answering


async def _through(coming: Coming, seen: _Seen) -> bytes:
    status = 500
    seen.enter()
    try:
        answer = await coming
        status = int(answer[_STATUS])
    finally:
        seen.ended(status)
    return answer
