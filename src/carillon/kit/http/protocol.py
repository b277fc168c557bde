"""uvicorn's HTTP protocol, with bounds on what a stranger may leave half said, and the envelope for what is no HTTP."""

import asyncio

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from carillon.kit.errors import Problem
from carillon.kit.http.envelope import failure
from carillon.kit.http.gathered import Gathered
from carillon.kit.ids import uuid7
from carillon.kit.telemetry import correlation

MAX_HEAD = 64 * 1024
PATIENCE = 30.0
"""Seconds from connecting, or from a request's first byte, until the request is whole."""


class BadRequest(Problem):
    """Not readable as HTTP."""

    code, status = "bad_request", 400


class RequestTimeout(Problem):
    """The request was begun and not finished."""

    code, status = "request_timeout", 408


class HeadersTooLarge(Problem):
    """Headers without end."""

    code, status = "headers_too_large", 431


_LINES = {400: b"400 Bad Request", 408: b"408 Request Timeout", 431: b"431 Request Header Fields Too Large"}


class EnvelopeProtocol(HttpToolsProtocol):
    """The timer is armed only while a request is incomplete, which the usual one, a single packet, never is."""

    _whole = False
    _in_head = True
    _head = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(Gathered(transport, self.loop))  # type: ignore[arg-type]
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._whole:
            self._rest()
            return
        self._watch()
        if self._in_head:
            self._head += len(data)
            if self._head > MAX_HEAD:
                self._refuse(HeadersTooLarge(f"The headers are larger than {MAX_HEAD} bytes."))

    def on_message_begin(self) -> None:
        self._whole, self._in_head, self._head = False, True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._whole = True
        super().on_message_complete()

    def shutdown(self) -> None:
        """A request that is not whole yet was not accepted: its sender is told by the closed connection."""
        if self._timer is not None:
            self.transport.close()
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        del msg  # the parser's words; the client needs ours
        self._refuse(BadRequest("This is not a valid HTTP request."))

    def _unsupported_upgrade_warning(self) -> None:
        """A stranger's wish for a WebSocket is no news."""

    def _watch(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(PATIENCE, self._too_slow)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._refuse(RequestTimeout(f"The request was not complete after {PATIENCE:.0f} seconds."))

    def _refuse(self, problem: Problem) -> None:
        self._rest()
        if self.transport.is_closing():
            return
        body = msgspec.json.encode(failure(problem))
        head = (
            *(b"HTTP/1.1 " + _LINES[problem.status], b"content-type: application/json", b"connection: close"),
            *(f"{correlation.HEADER.lower()}: {uuid7().hex}".encode(), b"content-length: %d" % len(body)),
        )
        self.transport.write(b"\r\n".join((*head, b"", body)))
        self.transport.close()
