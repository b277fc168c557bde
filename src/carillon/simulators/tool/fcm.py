"""A push provider that misbehaves as told: FCM HTTP v1 with its token endpoint, on a listening socket."""

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec
from aiohttp import web

from carillon.kit.ids import uuid7
from carillon.simulators.actions import AccessRefused, AccessTokens
from carillon.simulators.domain.fcm import OTHER_PROJECT, UNAUTHENTICATED, Refusal, Taken, judge
from carillon.simulators.domain.rules import Chosen
from carillon.simulators.service_account import TOKEN_PATH
from carillon.simulators.tool.book import Book, Entry, Verdict
from carillon.simulators.tool.fcm_refusals import refusal_of
from carillon.simulators.tool.misbehaving import HANGING_SECONDS, LATE_SECONDS, cut, letters

_SEND: Final = re.compile(r"/v1/projects/(?P<project>[^/]+)/messages:send")
_LARGEST_BODY: Final = 1 << 20
_READING_SECONDS: Final = 30.0
_LEAVING_SECONDS: Final = 2.0
_MOST_AT_ONCE: Final = 1_000
_TOO_MANY: Final = Refusal(503, "UNAVAILABLE", "Too many requests at once.", "UNAVAILABLE")
_NOT_FOUND: Final = Refusal(404, "NOT_FOUND", "Requested entity was not found.")
_TOO_LARGE: Final = Refusal(413, "INVALID_ARGUMENT", "Request payload size exceeds the limit.")


@dataclass(slots=True)
class Provider:
    """Answers one request; a deliberate end of the connection is an answer as well."""

    book: Book
    project: str
    tokens: AccessTokens
    in_hand: int = 0

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.in_hand >= _MOST_AT_ONCE:
            return _refused(_TOO_MANY)
        self.in_hand += 1
        try:
            return await self._answer(request)
        finally:
            self.in_hand -= 1

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            async with asyncio.timeout(_READING_SECONDS):
                body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _refused(_TOO_LARGE)
        except TimeoutError:
            return _ended(request)
        if request.path == TOKEN_PATH and request.method == "POST":
            return self._token(body)
        called = _SEND.fullmatch(request.path)
        if called is None or request.method != "POST":
            return _refused(_NOT_FOUND)
        return await self._sent(called["project"], request, body)

    def _token(self, body: bytes) -> web.Response:
        form = parse_qs(body.decode("utf-8", "replace"))
        given = {name: form.get(name, [""])[0] for name in ("grant_type", "assertion")}
        try:
            token = self.tokens.grant(**given)
        except AccessRefused as refused:
            return _json(400, {"error": refused.error, "error_description": str(refused)})
        return _json(200, {"access_token": token, "expires_in": self.tokens.seconds, "token_type": "Bearer"})

    async def _sent(self, project: str, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        """Rules are asked only for what the real one would take: who sends nonsense hears so."""
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self.tokens.knows(bearer.strip()):
            return _refused(UNAUTHENTICATED)
        if project != self.project:
            return _refused(OTHER_PROJECT)
        judged = judge(body)
        if isinstance(judged, Refusal):
            return _refused(judged)
        if judged.validate_only:
            return _json(200, {"name": f"projects/{project}/messages/fake_message_id"})
        return await self._misbehaving(judged, request, body)

    async def _misbehaving(self, judged: Taken, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        to = judged.token or str(judged.message.get("topic") or judged.message.get("condition"))
        chosen = self.book.choose(to)
        rule = chosen.rule
        answer = {"name": f"projects/{self.project}/messages/{uuid7()}"}
        match rule.do:
            case "refuse" | "dead":
                refusal = refusal_of(rule)
                self._enter(to, chosen, "refused", said=f"{refusal.code} {refusal.error_code}", body=body)
                return _refused(refusal)
            case "hang" | "drop":
                taken = rule.moment != "before"
                verdict: Verdict = "hung" if rule.do == "hang" else "dropped"
                self._enter(to, chosen, verdict, name=answer["name"] if taken else None, body=body)
                if rule.do == "hang":
                    await asyncio.sleep(HANGING_SECONDS if rule.seconds is None else rule.seconds)
                if rule.moment == "during":
                    return await _cut_short(request, answer)
                return _ended(request)
        self._enter(to, chosen, "accepted", name=answer["name"], said="200", body=body)
        seconds = LATE_SECONDS if rule.seconds is None else rule.seconds
        if rule.do == "delay":
            await asyncio.sleep(seconds)
        return await _dripped(request, answer, seconds) if rule.do == "drip" else _json(200, answer)

    def _enter(
        self, to: str, chosen: Chosen, verdict: Verdict, *, body: bytes, name: str | None = None, said: str = ""
    ) -> None:
        """What has a name was taken."""
        entry = Entry(chosen.number, to, verdict, taken=name is not None, rule=chosen.place, said=said)
        entry.message_id = name
        self.book.enter(entry, body)


@contextlib.asynccontextmanager
async def fcm_server(
    book: Book, listening: socket.socket, *, project: str, tokens: AccessTokens
) -> AsyncIterator[None]:
    """Serve until left; then connections still open are closed."""
    server = web.Server(Provider(book, project, tokens), access_log=None, handler_cancellation=True)
    running = await asyncio.get_running_loop().create_server(server, sock=listening)
    try:
        yield
    finally:
        running.close()
        await server.shutdown(_LEAVING_SECONDS)


def _json(status: int, said: Any, headers: Mapping[str, str] | None = None) -> web.Response:
    body = msgspec.json.encode(said)
    return web.Response(status=status, body=body, headers={"Content-Type": "application/json", **(headers or {})})


def _refused(refusal: Refusal) -> web.Response:
    return _json(refusal.code, refusal.body(), refusal.headers)


def _ended(request: web.BaseRequest) -> web.Response:
    """The connection is gone when the framework would write this."""
    cut(request.transport)
    return web.Response(status=500)


async def _cut_short(request: web.BaseRequest, answer: Any) -> web.StreamResponse:
    """Half of the answer, then the end."""
    begun, body = await _begun(request, answer)
    await begun.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return begun


async def _dripped(request: web.BaseRequest, answer: Any, seconds: float) -> web.StreamResponse:
    begun, body = await _begun(request, answer)
    await letters(body, seconds, begun.write)
    await begun.write_eof()
    return begun


async def _begun(request: web.BaseRequest, answer: Any) -> tuple[web.StreamResponse, bytes]:
    body = msgspec.json.encode(answer)
    begun = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(body))})
    await begun.prepare(request)
    return begun, body
