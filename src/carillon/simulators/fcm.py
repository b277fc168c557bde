"""The push provider over HTTP: a foreign API, so its answers wear its own shapes and no envelope."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import msgspec

from carillon.kit.errors import Unavailable
from carillon.kit.http.edge import App, Receive, Scope, Send
from carillon.kit.ids import uuid7
from carillon.simulators.actions import AccessRefused, AccessTokens, Push
from carillon.simulators.domain.fcm import OTHER_PROJECT, UNAUTHENTICATED, Refusal, judge
from carillon.simulators.service_account import TOKEN_PATH

_SEND: Final = re.compile(r"/simulators/fcm/v1/projects/(?P<project>[^/]+)/messages:send")
_LARGEST_BODY: Final = 1 << 20
_READING_SECONDS: Final = 30
_AWAY: Final = Refusal(
    503, "UNAVAILABLE", "The service is currently unavailable.", "UNAVAILABLE", headers={"Retry-After": "1"}
)


@dataclass(frozen=True, slots=True)
class Fcm:
    """An ASGI app for paths below `/simulators/fcm`."""

    project: str
    tokens: AccessTokens
    keep: Callable[[Push], Awaitable[Any]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read(receive)
        if body is None:
            too_large = Refusal(413, "INVALID_ARGUMENT", "Request payload size exceeds the limit.")
            await _answer(send, 413, too_large.body())
        elif scope["path"] == TOKEN_PATH and scope["method"] == "POST":
            await self._token(body, send)
        elif (called := _SEND.fullmatch(scope["path"])) and scope["method"] == "POST":
            verdict = await self._sent(unquote(called["project"]), scope, body)
            if isinstance(verdict, Refusal):
                await _answer(send, verdict.code, verdict.body(), verdict.headers)
            else:
                await _answer(send, 200, {"name": verdict.name})
        else:
            await _answer(send, 404, Refusal(404, "NOT_FOUND", "Requested entity was not found.").body())

    async def _sent(self, project: str, scope: Scope, body: bytes) -> Push | Refusal:
        """The push as it was kept, or why not."""
        if not self.tokens.knows(_bearer(scope)):
            return UNAUTHENTICATED
        if project != self.project:
            return OTHER_PROJECT
        verdict = judge(body)
        if isinstance(verdict, Refusal):
            return verdict
        push = Push(uuid7(), project, verdict.token, verdict.message)
        try:
            if not verdict.validate_only:
                await self.keep(push)
        except Unavailable:
            return _AWAY
        return push

    async def _token(self, body: bytes, send: Send) -> None:
        """The JWT bearer grant of RFC 7523, form-encoded as everybody sends it."""
        form = parse_qs(body.decode("utf-8", "replace"))
        given = {name: form.get(name, [""])[0] for name in ("grant_type", "assertion")}
        try:
            token = self.tokens.grant(**given)
        except AccessRefused as refused:
            await _answer(send, 400, {"error": refused.error, "error_description": str(refused)})
        else:
            await _answer(send, 200, {"access_token": token, "expires_in": self.tokens.seconds, "token_type": "Bearer"})


def beside(fcm: Fcm, app: App) -> App:
    """One app for both: the foreign API keeps its own rules, everything else goes to ours."""

    async def either(scope: Scope, receive: Receive, send: Send) -> None:
        foreign = scope["type"] == "http" and scope["path"].startswith("/simulators/fcm/")
        await (fcm if foreign else app)(scope, receive, send)

    return either


def _bearer(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, token = bytes(value).decode("latin-1").partition(" ")
            return token.strip() if scheme.lower() == "bearer" else ""
    return ""


async def _read(receive: Receive) -> bytes | None:
    """The whole body; None when there is too much of it."""
    body = bytearray()
    async with asyncio.timeout(_READING_SECONDS):
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > _LARGEST_BODY:
                return None
            if message["type"] == "http.disconnect" or not message.get("more_body"):
                return bytes(body)


async def _answer(send: Send, status: int, said: Any, headers: Mapping[str, str] | None = None) -> None:
    body = msgspec.json.encode(said)
    sent = {"content-type": "application/json; charset=UTF-8", "content-length": str(len(body)), **(headers or {})}
    raw = [(name.lower().encode(), value.encode()) for name, value in sent.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
