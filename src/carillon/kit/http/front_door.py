"""One address for several services: paths go to their service; health, metrics and documents are told together."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from carillon.kit.errors import NotFound, Unavailable, WrongMethod
from carillon.kit.http.document import REF
from carillon.kit.http.edge import App, Edge, Receive, Scope, Send, answer, canonical
from carillon.kit.http.envelope import Envelope
from carillon.kit.http.pages import docs_page
from carillon.kit.http.routing import allowed
from carillon.kit.http.system import Health, examine
from carillon.kit.telemetry.metrics import rendered

if TYPE_CHECKING:
    from carillon.kit.service import Running, Service


def front_door(rooms: "Sequence[tuple[Service, Running]]") -> App:
    """The outer app. A single service is its own front door."""
    return rooms[0][1].app if len(rooms) == 1 else FrontDoor(rooms)


class FrontDoor:
    def __init__(self, rooms: "Sequence[tuple[Service, Running]]") -> None:
        self._rooms = rooms
        self._by_path = sorted(
            ((path, running.app) for service, running in rooms for path in service.paths),
            key=lambda pair: -len(pair[0]),
        )
        self._own = {
            "/health": self._health,
            "/ready": self._ready,
            "/metrics": self._metrics,
            "/openapi.json": self._openapi,
            "/docs": self._docs,
        }
        self._without_service = Edge(self._answer, service="front_door")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = canonical(scope["path"])
        for prefix, app in self._by_path:
            if path == prefix or path.startswith(prefix + "/"):
                await app(scope, receive, send)
                return
        await self._without_service(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        if (own := self._own.get(scope["path"])) is None:
            await answer(send, NotFound("There is nothing at this address. /docs lists what there is."))
        elif scope["method"] == "GET":
            await own(send)
        elif scope["method"] == "OPTIONS":
            headers = [(b"allow", allowed(["GET"]).encode())]
            await send({"type": "http.response.start", "status": 204, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
        else:
            await answer(send, WrongMethod(allowed(["GET"])))

    async def _health(self, send: Send) -> None:
        await _send(send, _told(await self._examined()))

    async def _ready(self, send: Send) -> None:
        found = await self._examined()
        if away := [name for name, (_, able) in found.items() if not able]:
            await answer(send, Unavailable(f"Not able to serve: {', '.join(away)}. /health says why."))
        else:
            await _send(send, _told(found))

    async def _metrics(self, send: Send) -> None:
        await _send(send, rendered(), "text/plain; version=0.0.4")

    async def _openapi(self, send: Send) -> None:
        await _send(send, msgspec.json.encode(await self._document()))

    async def _docs(self, send: Send) -> None:
        await _send(send, docs_page(await self._document()).encode(), "text/html; charset=utf-8")

    async def _examined(self) -> dict[str, tuple[Health, bool]]:
        """Every service at once: whoever asks waits for the slowest dependency, not for one after the other."""
        found = await asyncio.gather(*(examine(service.name, running.checks) for service, running in self._rooms))
        return {health.service: (health, able) for health, able in found}

    async def _document(self) -> dict[str, Any]:
        documents = [msgspec.json.decode(await _ask(running.app, "/openapi.json")) for _, running in self._rooms]
        return merged(documents)


def merged(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several OpenAPI documents as one: their paths and components side by side; `/health` tells of every service."""
    whole: dict[str, Any] = {"openapi": documents[0]["openapi"], "info": {"title": "Carillon", "version": "1"}}
    whole["paths"] = {
        path: operations for document in documents for path, operations in document.get("paths", {}).items()
    }
    components: dict[str, dict[str, Any]] = {}
    for document in documents:
        for kind, named in document.get("components", {}).items():
            components.setdefault(kind, {}).update(named)
    whole["components"] = components
    if health := whole["paths"].get("/health"):
        (shape,), named = msgspec.json.schema_components([Envelope[dict[str, Health]]], ref_template=REF)
        health["get"]["responses"]["200"]["content"] = {"application/json": {"schema": shape}}
        components.setdefault("schemas", {}).update(named)
    return whole


def _told(found: Mapping[str, tuple[Health, bool]]) -> bytes:
    return msgspec.json.encode(Envelope({name: health for name, (health, _) in found.items()}))


async def _send(send: Send, body: bytes, kind: str = "application/json") -> None:
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _ask(app: App, path: str) -> bytes:
    """A GET to an app in this process, without a socket."""
    body = bytearray()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            body.extend(message.get("body", b""))

    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": None,
        "server": None,
        "state": {},
        "extensions": {},
    }
    await app(scope, receive, send)
    return bytes(body)
