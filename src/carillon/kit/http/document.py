"""The OpenAPI document, completed: what the framework leaves out, and what it says in Python's own way."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from litestar import Litestar
from litestar.routes import HTTPRoute

from carillon.kit.telemetry import correlation

REF = "#/components/schemas/{name}"
_START = re.compile(r"^\\A")
_END = re.compile(r"(\(\?!\\n\))?(\\Z|\$)$")
_ID = {"description": "Finds this answer in the logs", "required": True, "schema": {"type": "string"}}
_WAIT = {"description": "Seconds", "required": True, "schema": {"type": "integer", "minimum": 1}}
_LIMIT = {"description": "What is left of the limit (docs/reference/limits.md)", "schema": {"type": "string"}}
_SCHEME = {"description": "How to authenticate", "required": True, "schema": {"type": "string"}}
_HEADERS: dict[str, dict[str, Any]] = {
    "401": {"WWW-Authenticate": _SCHEME},
    "429": {"Retry-After": _WAIT, "RateLimit": _LIMIT, "RateLimit-Policy": _LIMIT},
    "503": {"Retry-After": _WAIT},
}


def document_of(app: Litestar) -> dict[str, Any]:
    """The app's document with whole request bodies, patterns that every language reads, headers, explicit openness."""
    document: dict[str, Any] = _portable(app.openapi_schema.to_schema())
    document.setdefault("components", {}).setdefault("schemas", {}).update(_portable(_bodies(app)))
    for path in document.get("paths", {}).values():
        for operation in path.values():
            operation.setdefault("security", [])
            for status, response in operation["responses"].items():
                response["headers"] = {
                    correlation.HEADER: _ID,
                    **_HEADERS.get(status, {}),
                    **response.get("headers", {}),
                }
    return document


def _bodies(app: Litestar) -> dict[str, dict[str, Any]]:
    """The schemas of all request bodies by name: msgspec knows their bounds, and that unknown fields are refused.

    A body's class may show whole examples as `EXAMPLES`.
    """
    shapes = list(_shapes(app))
    references, schemas = msgspec.json.schema_components(shapes, ref_template=REF)
    for shape, reference in zip(shapes, references, strict=True):
        if examples := getattr(shape, "EXAMPLES", ()):
            schemas[reference["$ref"].rpartition("/")[2]]["examples"] = list(examples)
    return schemas


def _shapes(app: Litestar) -> Iterator[Any]:
    for route in app.routes:
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else ():
            if data := handler.parsed_fn_signature.parameters.get("data"):
                yield data.annotation


def _portable(value: Any) -> Any:
    r"""A copy in which patterns say `^` and `$` for Python's `\A` and `\Z`: JSON Schema's own mean just that."""
    if isinstance(value, list):
        return [_portable(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _END.sub("$", _START.sub("^", inner)) if key == "pattern" and isinstance(inner, str) else _portable(inner)
        for key, inner in value.items()
    }
