"""Declaring a route: what it needs, what it answers and how it can fail, for the code and for OpenAPI at once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from litestar import Response, route
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec

from carillon.kit.http.access import ANYONE
from carillon.kit.http.bodies import StrictBody
from carillon.kit.http.edge import API
from carillon.kit.http.envelope import ErrorEnvelope
from carillon.kit.http.queries import query_names

_SAYS = {
    400: "The body is not JSON, or the request is malformed",
    401: "No valid token",
    403: "The token lacks the permission",
    404: "Not found, or not yours to know of",
    405: "Method not allowed",
    409: "Contradicts what is there",
    412: "Not the version that If-Match insists on; nothing was changed",
    413: "The body is too large",
    415: "The body is not declared as JSON",
    422: "Breaks a rule; details name the fields",
    429: "A limit is used up; see Retry-After",
    500: "Our fault",
    503: "Something needed is away; see Retry-After",
}
_BODY_ERRORS = (400, 413, 415, 422)


def endpoint(
    method: str,
    path: str | Sequence[str],
    *,
    needs: str,
    says: str,
    status: int = 200,
    also: Sequence[int] = (),
    errors: Sequence[int] = (),
    tag: str = "",
    answers: type | None = None,
    prefix: str = API,
    strict: bool = False,
    body: bool = False,
    shapes: Mapping[int, type] | None = None,
    **options: Any,
) -> Callable[[Callable[..., Any]], HTTPRouteHandler]:
    """A Litestar route under `/api/v1`, or under another `prefix`.

    `needs` is a word of kit.http.access, a permission, or `owner_or`/`self_or` one. `says` is the summary in OpenAPI.
    `errors` are the failures beyond those every route has; a body adds 400, 413, 415 and 422, also where a DELETE takes
    one (`body`). `shapes` are of failures that say more than an ErrorEnvelope. `also` lists further
    success statuses of the shape `answers`. `strict` is for what an administrator does and for what destroys: the
    token is verified at its source each time, and where nobody can tell the answer is 503. Under `/api/v1` a query
    parameter that the function does not take is refused.
    """
    paths = [path] if isinstance(path, str) else list(path)
    takes_body = body or method in {"POST", "PUT", "PATCH"}
    of_callers = () if needs == ANYONE else (401, 403, 429, 503)
    failures = {*errors, 400, 422, 500, *of_callers, *(_BODY_ERRORS if takes_body else ())}
    responses = {code: _failure(code, (shapes or {}).get(code, ErrorEnvelope)) for code in sorted(failures)}
    responses |= {code: ResponseSpec(answers, generate_examples=False, description=says) for code in also}
    if takes_body:
        options = {"dto": StrictBody, "return_dto": None, **options}

    def declared(function: Callable[..., Any]) -> HTTPRouteHandler:
        return route(
            [f"{prefix}{p}" if not p.startswith("/.") else p for p in paths],
            http_method=[method],  # type: ignore[list-item]
            status_code=status,
            summary=says,
            description=f"Needs: {needs.replace('_', ' ')}.",
            responses=responses,
            opt={"needs": needs, "strict": strict, "query": query_names(function) if prefix == API else None},
            security=[] if needs == ANYONE else [{"bearer": []}],
            tags=[tag] if tag else None,
            **options,
        )(function)

    return declared


def _failure(code: int, shape: type) -> ResponseSpec:
    return ResponseSpec(shape, generate_examples=False, description=_SAYS[code])


def allowed(methods: Iterable[str]) -> str:
    """The value of `Allow`: what is declared, HEAD wherever there is GET, and OPTIONS."""
    declared = {*methods, "OPTIONS"}
    return ", ".join(sorted(declared | {"HEAD"} if "GET" in declared else declared))


def options(handlers: Sequence[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """One OPTIONS route for each path, open to all; to be registered first.

    The framework's own ask for a token and know only the methods of the handler that was registered first.
    """
    taken: dict[str, set[str]] = {}
    for handler in handlers:
        for path in handler.paths:
            taken.setdefault(path, set()).update(handler.http_methods)
    return [_options(path, allowed(methods)) for path, methods in taken.items()]


def _options(path: str, allow: str) -> HTTPRouteHandler:
    @route(path, http_method=["OPTIONS"], opt={"needs": ANYONE}, include_in_schema=False, sync_to_thread=False)
    def tell() -> Response[None]:
        return Response(None, status_code=204, headers={"Allow": allow})

    return tell
