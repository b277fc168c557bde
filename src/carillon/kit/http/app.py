"""`build_app`: routes, an authenticator and checks become one ASGI app in which every error wears the envelope."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

import structlog
from litestar import Litestar, MediaType, Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException, ValidationException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme

from carillon.kit.auth import Authenticator
from carillon.kit.errors import BrokenBody, Crashed, FieldProblem, Invalid, NotFound, Problem, WrongMethod
from carillon.kit.http.access import CountCaller, guard
from carillon.kit.http.answer import Answer
from carillon.kit.http.edge import MAX_BODY, App, Edge
from carillon.kit.http.envelope import failure
from carillon.kit.http.proxies import Network
from carillon.kit.http.routing import allowed, options
from carillon.kit.http.system import HealthCheck, system_routes

_log = structlog.get_logger()

_HUNG_UP = "client disconnected prematurely"
"""What the framework says, as its own failure, of a client that leaves in the middle of its body."""

_CODES = {400: "bad_request", 404: "not_found", 413: "body_too_large"}


def build_app(
    name: str,
    handlers: Sequence[HTTPRouteHandler],
    *,
    authenticate: Authenticator,
    state: Mapping[str, Any],
    checks: Mapping[str, HealthCheck],
    title: str,
    limit: CountCaller | None = None,
    trusted_proxies: Sequence[Network] = (),
    verify: Authenticator | None = None,
) -> App:
    """One service's app. Its routes find `state` under `request.app.state`; `checks` feed `/health` and `/ready`.

    `verify` is asked for strict routes: it remembers nothing (`authenticate` where there is no other).
    """
    routes = [*handlers, *system_routes(name, checks)]
    inner = Litestar(
        route_handlers=[*options(routes), *routes],
        before_request=guard if limit is None else partial(guard, limit=limit),
        response_class=Answer,
        state=State({**state, "authenticate": authenticate, "verify": verify or authenticate}),
        exception_handlers={Problem: _known, HTTPException: _of_framework, Exception: _unexpected},
        request_max_body_size=MAX_BODY,
        openapi_config=OpenAPIConfig(
            title=title,
            version="1",
            path="/_schema",
            components=Components(security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer")}),
            use_handler_docstrings=False,
        ),
        logging_config=None,
    )
    return Edge(cast(App, inner), service=name, trusted_proxies=trusted_proxies, bodies=_bodies(handlers))


def _bodies(handlers: Sequence[HTTPRouteHandler]) -> dict[str, int]:
    """The paths whose bodies have a bound of their own."""
    return {
        path: handler.request_max_body_size
        for handler in handlers
        for path in handler.paths
        if isinstance(handler.request_max_body_size, int)
    }


def _render(problem: Problem) -> Response[Any]:
    return Response(failure(problem), status_code=problem.status, headers=problem.headers, media_type=MediaType.JSON)


def _known(_request: Request[Any, Any, Any], problem: Problem) -> Response[Any]:
    if problem.status >= 500:  # noqa: PLR2004
        _log.warning("request_failed", code=problem.code, reason=problem.message)
    return _render(problem)


def _of_framework(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    if isinstance(error, ValidationException):
        return _render(_invalid_parameters(error))
    if error.detail == _HUNG_UP:
        return _render(BrokenBody("The body ended before it was complete."))
    if error.status_code >= 500:  # noqa: PLR2004
        return _unexpected(request, error)
    if error.status_code == 405:  # noqa: PLR2004
        return _render(WrongMethod(allowed((error.headers or {}).get("allow", "").split(", "))))
    problem = NotFound("There is nothing at this address.") if error.status_code == 404 else Problem(str(error.detail))  # noqa: PLR2004
    problem.status = error.status_code
    problem.code = _CODES.get(error.status_code, "bad_request")
    if error.headers:
        problem.headers.update(error.headers)
    return _render(problem)


def _invalid_parameters(error: ValidationException) -> Problem:
    extra = error.extra if isinstance(error.extra, list) else []
    details = [FieldProblem(str(e.get("key", "")), str(e.get("message", ""))) for e in extra if isinstance(e, dict)]
    if any(d.field == "data" for d in details):
        return BrokenBody("The body is empty; this route takes JSON.")
    said = "; ".join(f"{d.field}: {d.reason}" for d in details) or "A parameter breaks a rule."
    return Invalid(said, details=details)


def _unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    _log.error("request_crashed", method=request.method, route=request.scope.get("path_template", ""), exc_info=error)
    return _render(Crashed())
