"""What every service answers to anyone: `/health`, `/ready`, `/metrics`, `/openapi.json`, `/docs`."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar import Litestar, MediaType, Request, Response, get
from litestar.handlers import HTTPRouteHandler

from carillon.kit.errors import Unavailable
from carillon.kit.http.access import ANYONE
from carillon.kit.http.document import document_of
from carillon.kit.http.envelope import Envelope, failure
from carillon.kit.http.pages import docs_page
from carillon.kit.telemetry.metrics import rendered

_PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One dependency: `probe` raises when it is away, `without` says what works then, `vital` decides readiness.

    `states`: where it is several, how each of them fares.
    """

    probe: Callable[[], Awaitable[None]]
    without: str
    vital: bool = False
    states: Callable[[], Mapping[str, str]] | None = None


class DependencyHealth(msgspec.Struct, frozen=True):
    status: str
    without: str | msgspec.UnsetType = msgspec.UNSET
    reason: str | msgspec.UnsetType = msgspec.UNSET
    states: dict[str, str] | msgspec.UnsetType = msgspec.UNSET


class Health(msgspec.Struct, frozen=True):
    """`status` is `ok`, or `degraded` while a dependency is away."""

    service: str
    status: str
    dependencies: dict[str, DependencyHealth]


async def examine(service: str, checks: Mapping[str, HealthCheck]) -> tuple[Health, bool]:
    """Ask every dependency at once, 2 s at most; the second value tells whether the service can serve."""
    found = dict(zip(checks, await asyncio.gather(*(_ask(check) for check in checks.values())), strict=True))
    ready = all(found[name].status == "ok" for name, check in checks.items() if check.vital)
    status = "ok" if all(d.status == "ok" for d in found.values()) else "degraded"
    return Health(service, status, found), ready


async def _ask(check: HealthCheck) -> DependencyHealth:
    states = dict(check.states()) if check.states else msgspec.UNSET
    try:
        async with asyncio.timeout(_PATIENCE):
            await check.probe()
    except Exception as error:  # noqa: BLE001 - a probe may fail in any way; the answer says which
        return DependencyHealth("away", check.without, type(error).__name__, states)
    return DependencyHealth("ok", states=states)


def system_routes(service: str, checks: Mapping[str, HealthCheck]) -> list[HTTPRouteHandler]:
    """The routes that need no token and stand outside `/api/v1`."""
    open_to_all = {"needs": ANYONE}

    @functools.cache
    def document(app: Litestar) -> dict[str, Any]:
        return document_of(app)

    @get("/health", opt=open_to_all, summary="Alive, and how its dependencies fare", tags=["system"])
    async def health() -> Envelope[Health]:
        return Envelope((await examine(service, checks))[0])

    @get("/ready", opt=open_to_all, include_in_schema=False)
    async def ready() -> Response[Any]:
        found, able = await examine(service, checks)
        if able:
            return Response(Envelope(found))
        away = ", ".join(name for name, state in found.dependencies.items() if state.status != "ok")
        return Response(failure(Unavailable(f"{service} cannot serve while these are away: {away}.")), status_code=503)

    @get(
        "/metrics",
        opt=open_to_all,
        include_in_schema=False,
        media_type="text/plain; version=0.0.4",
        sync_to_thread=False,
    )
    def metrics() -> bytes:
        return rendered()

    @get("/openapi.json", opt=open_to_all, include_in_schema=False, sync_to_thread=False)
    def openapi(request: Request[Any, Any, Any]) -> dict[str, Any]:
        return document(request.app)

    @get("/docs", opt=open_to_all, include_in_schema=False, media_type=MediaType.HTML, sync_to_thread=False)
    def docs(request: Request[Any, Any, Any]) -> str:
        return docs_page(document(request.app))

    return [health, ready, metrics, openapi, docs]
