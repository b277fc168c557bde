"""The outermost layer of every app: one path for all spellings, JSON only, bounded bodies, timings."""

import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any

from carillon.kit.errors import Problem, TooLarge, UnsupportedMediaType
from carillon.kit.http.envelope import refusal
from carillon.kit.http.proxies import Network, client_of
from carillon.kit.telemetry import correlation
from carillon.kit.telemetry.metrics import HTTP_SECONDS

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY = 1 << 20
API = "/api/v1"
_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_METHODS = _WITH_BODY | {"GET", "OPTIONS"}
_CORRELATION = correlation.HEADER.lower().encode()
_FORWARDED = b"x-forwarded-for"
TOLD = "carillon_told"
"""Key of the scope under which a layer within leaves headers for the answer, whatever the answer becomes."""


def canonical(path: str) -> str:
    """`/v1/users/`, `/v1/users`, `/api/v1/users/` are all `/api/v1/users`; other paths lose only a trailing slash."""
    bare = path.rstrip("/") or "/"
    return API + bare[3:] if bare == "/v1" or bare.startswith("/v1/") else bare


class Edge:
    """Wraps a service's app. `service` labels its timings; behind `trusted_proxies` the client is whom they tell of.

    Bodies have at most MAX_BODY bytes, or what `bodies` says for their path.
    """

    def __init__(
        self,
        app: App,
        *,
        service: str,
        trusted_proxies: Sequence[Network] = (),
        bodies: Mapping[str, int] | None = None,
    ) -> None:
        self._app = app
        self._bodies = bodies or {}
        self._trusted = trusted_proxies
        self._service = service
        self._children: dict[tuple[str, str, int], Any] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        given = headers.get(_CORRELATION)
        correlation_id = correlation.bind(given.decode("latin-1") if given else None).encode()
        if self._trusted and _FORWARDED in headers:
            scope["client"] = self._client(scope)
        started, status = time.perf_counter(), 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                told = scope.get(TOLD, ())
                message["headers"] = [*message.get("headers", ()), *told, (_CORRELATION, correlation_id)]
            await send(message)

        # HEAD is a GET of which the server, that keeps the scope as it was, drops the body.
        scope = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        scope["path"] = canonical(scope["path"])
        scope["raw_path"] = scope["path"].encode()
        if problem := _refusal(scope["method"], headers, self._bodies.get(scope["path"], MAX_BODY)):
            await answer(send_with_id, problem)
        else:
            await self._app(scope, receive, send_with_id)
        self._observe(scope, status, time.perf_counter() - started)

    def _client(self, scope: Scope) -> tuple[str, int]:
        host, port = scope.get("client") or ("", 0)
        told = [value.decode("latin-1") for name, value in scope["headers"] if name == _FORWARDED]
        found = client_of(host, told, self._trusted)
        return found, port if found == host else 0

    def _observe(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"  # clients may name any of forty
        key = (method, scope.get("path_template") or "(none)", status)
        if (child := self._children.get(key)) is None:
            child = self._children[key] = HTTP_SECONDS.labels(self._service, key[0], key[1], str(status))
        child.observe(seconds)


def _refusal(method: str, headers: dict[bytes, bytes], most: int) -> Problem | None:
    if method not in _WITH_BODY:
        return None
    length = headers.get(b"content-length", b"0")
    if length == b"0" and b"transfer-encoding" not in headers:
        return None
    if length.isdigit() and int(length) > most:
        return TooLarge(f"The body has {int(length)} bytes; at most {most} are taken.")
    kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
    if kind != b"application/json":
        return UnsupportedMediaType("Send JSON: Content-Type: application/json.")
    return None


async def answer(send: Send, problem: Problem) -> None:
    """Send a problem without any framework's help, and as the framework would."""
    headers, body = refusal(problem)
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
