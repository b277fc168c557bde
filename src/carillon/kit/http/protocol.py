"""uvicorn's HTTP protocol, with bounds on what a stranger may leave half said, and the envelope for what is no HTTP."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from carillon.kit.errors import Problem
from carillon.kit.http.door import Admitting, Enter
from carillon.kit.http.envelope import failure
from carillon.kit.http.gathered import Gathered
from carillon.kit.http.shortcut import Answering, Coming
from carillon.kit.ids import uuid7_hex
from carillon.kit.telemetry import correlation

_log = structlog.get_logger()

MAX_HEAD = 64 * 1024
_PIECE = 4 * 1024
"""What the parser is given at a time while it may meet a head; the piece in which one begins is not counted to it."""
PATIENCE = 30.0
"""Seconds from connecting, from a request's first byte, or from the answer before, until the request is whole."""


class BadRequest(Problem):
    """Not readable as HTTP."""

    code, status = "bad_request", 400


class RequestTimeout(Problem):
    """The request was begun and not finished."""

    code, status = "request_timeout", 408


class HeadersTooLarge(Problem):
    """Headers without end."""

    code, status = "headers_too_large", 431


LAST = (b"connection", b"close")
"""Among the headers of every answer: callers are being sent away."""
_END_OF_HEAD = b"\r\n\r\n"
_LAST = b"\r\nconnection: close" + _END_OF_HEAD
_LINES = {400: b"400 Bad Request", 408: b"408 Request Timeout", 431: b"431 Request Header Fields Too Large"}


@dataclass(slots=True)
class _Owed:
    """What the server needs to know of an answer that is being looked up: the part of a cycle that it touches."""

    response_complete: bool = False
    keep_alive: bool = True
    disconnected: bool = False
    message_event: asyncio.Event = field(default_factory=asyncio.Event)


class EnvelopeProtocol(HttpToolsProtocol):
    """The timer is armed only while a request is incomplete, which the usual one, a single packet, never is."""

    _whole = False
    _answered = False
    _in_head = True
    _head = 0
    _timer: asyncio.TimerHandle | None = None
    _refusal: Problem | None = None

    def __init__(self, *, shortcuts: Sequence[Answering] = (), doors: Sequence[Admitting] = (), **terms: Any) -> None:
        super().__init__(**terms)
        self._shortcuts = shortcuts
        self._doors = doors
        self._entering: Enter | None = None
        self._held: list[bytes] = []
        self._before: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._gathered = Gathered(transport, self.loop)
        super().connection_made(self._gathered)  # type: ignore[arg-type]
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """In pieces, as if it had come so: whole requests before a head in the same packet are none of its bytes."""
        piece = _PIECE if self._in_head or self._whole else len(data)
        for start in range(0, len(data), piece):
            self._read(data[start : start + piece])

    def _read(self, data: bytes) -> None:
        if self._refusal is not None:
            return
        self._head += len(data)  # from nothing where one begins
        super().data_received(data)
        if self._whole or self._refusal is not None:
            self._rest()
            return
        self._watch()
        if self._in_head and self._head > MAX_HEAD:
            self._refuse(HeadersTooLarge(f"The headers are larger than {MAX_HEAD} bytes."))

    def on_message_begin(self) -> None:
        self._whole, self._in_head, self._head = False, True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._answered, self._entering = self._take_shortcut(), self._door()
        if not self._answered and self._entering is None:
            self._before = self.cycle
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._entering is None:
            super().on_body(body)
        else:
            self._held.append(body)

    def on_message_complete(self) -> None:
        self._whole = True
        if self._entering is not None:
            self._answered = self._enter(self._entering)
        if not self._answered:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._timer is not None:
            self._rest()
            self._watch()
        if self._refusal is not None:
            self._refuse(self._refusal)
        if self.pipeline:  # it has begun to read again, but answers are owed still
            self.flow.pause_reading()

    def shutdown(self) -> None:
        """A request that is not whole yet was not accepted: its sender is told by the closed connection, once those
        before it are answered.
        """
        if self._timer is None or (self._in_head and self._owes()):
            super().shutdown()
        elif self.pipeline and self._before is not None and not self._in_head:
            self._rest()
            self.pipeline.popleft()  # the last that came: the one that is not whole
            self._before.keep_alive = False
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        del msg  # the parser's words; the client needs ours
        self._refuse(BadRequest("This is not a valid HTTP request."))

    def _unsupported_upgrade_warning(self) -> None:
        """A stranger's wish for a WebSocket is no news."""

    def _owes(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete

    def _owes_before(self) -> bool:
        """An answer to a request before the one that is not whole, or could not be read."""
        return self._owes() if self._in_head or self._whole else bool(self.pipeline)

    def _has_answered(self) -> bool:
        """The request that is not whole: its body was not waited for."""
        return not (self._in_head or self._whole or self._owes() or self._entering is not None)

    def _is_free(self) -> bool:
        """Only while no answer is owed on this connection, so that all leave in the order of their requests, and
        callers are not being sent away, which the ordinary way knows how to do."""
        return not (
            self._owes()
            or not self.parser.should_keep_alive()
            or self.parser.get_http_version() != "1.1"
            or self.flow.write_paused
            or self._gathered.full
            or self._gathered.is_closing()
            or self._parting
        )

    @property
    def _parting(self) -> bool:
        return LAST in self.server_state.default_headers

    def _door(self) -> Enter | None:
        """The first that lets this request in; its body is held until it is whole."""
        self._held = []
        if not self._doors or self.parser.get_method() != b"POST" or not self._is_free():
            return None
        for door in self._doors:
            try:
                if (enter := door(self.url, self.headers)) is not None:
                    return enter
            except Exception as error:  # noqa: BLE001 - whatever it fails of, the ordinary way is open
                _log.error("door_failed", exc_info=error)
        return None

    def _enter(self, enter: Enter) -> bool:
        """Whether the body was let in; else the server is told of the whole request now."""
        body, self._held, self._entering = b"".join(self._held), [], None
        try:
            coming = enter(body, self.server_state.default_headers)
        except Exception as error:  # noqa: BLE001 - whatever it fails of, the ordinary way is open
            _log.error("door_failed", exc_info=error)
            coming = None
        if coming is not None:
            self._owe(coming)
            return True
        super().on_headers_complete()
        super().on_body(body)
        return False

    def _take_shortcut(self) -> bool:
        if not self._shortcuts or self.parser.get_method() != b"GET" or not self._is_free():
            return False
        for shortcut in self._shortcuts:
            try:
                answer = shortcut(self.url, self.headers, self.server_state.default_headers)
            except Exception as error:  # noqa: BLE001 - whatever it fails of, the ordinary way is open
                _log.error("shortcut_failed", exc_info=error)
                continue
            if isinstance(answer, bytes):
                self._gathered.write(answer)
                self.on_response_complete()
                return True
            if answer is not None:
                self._owe(answer)
                return True
        return False

    def _owe(self, coming: Coming) -> None:
        self._unset_keepalive_if_required()
        owed = _Owed()
        self.cycle = cast("RequestResponseCycle", owed)
        task = self.loop.create_task(self._pay(owed, coming))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    async def _pay(self, owed: "_Owed", coming: Coming) -> None:
        """Send what was waited for; requests that arrived meanwhile have waited."""
        try:
            answer = await coming
            owed.response_complete = True
            owed.keep_alive = owed.keep_alive and not self._parting
            self._gathered.write(answer if owed.keep_alive else answer.replace(_END_OF_HEAD, _LAST, 1))
        finally:
            if not (owed.response_complete and owed.keep_alive):
                self.transport.close()
        self.on_response_complete()

    def _watch(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(PATIENCE, self._too_slow)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if self._owes_before():  # its time begins with the last of those answers
            self._watch()
        else:
            self._refuse(RequestTimeout(f"The request was not complete after {PATIENCE:.0f} seconds."))

    def _refuse(self, problem: Problem) -> None:
        """The last word on this connection, once those before it are answered; nothing more is listened to."""
        self._rest()
        self._refusal = problem
        if self.transport.is_closing():
            return
        if self._owes_before():
            self.flow.pause_reading()
            return
        if self._has_answered():
            self.transport.close()
            return
        body = msgspec.json.encode(failure(problem))
        head = (
            *(b"HTTP/1.1 " + _LINES[problem.status], b"content-type: application/json", b"connection: close"),
            *(f"{correlation.HEADER.lower()}: {uuid7_hex()}".encode(), b"content-length: %d" % len(body)),
        )
        self.transport.write(b"\r\n".join((*head, b"", body)))
        self.transport.close()
