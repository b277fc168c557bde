"""The table of every HTTP route, made from the OpenAPI documents of the services."""

import asyncio
import json
from typing import Any

import carillon.gateway.routes
import carillon.templates.routes
import carillon.users.app
from carillon.kit.auth import Caller
from carillon.kit.errors import Unauthenticated
from carillon.kit.http import front_door
from carillon.kit.http.app import build_app

HANDLERS = {
    "gateway": carillon.gateway.routes.ROUTES,
    "users": carillon.users.app.HANDLERS,
    "templates": carillon.templates.routes.ROUTES,
}
_HEADING = ["| route | what it does | needs | takes | answers | fails with |", "| --- | --- | --- | --- | --- | --- |"]


def made() -> str:
    """A table for each service, and one of the routes that all of them have."""
    documents = {name: _document(name) for name in HANDLERS}
    shared = set.intersection(*(set(document["paths"]) for document in documents.values()))
    lines: list[str] = []
    for name, document in documents.items():
        lines += [f"## {name}", "", *_table(document, set(document["paths"]) - shared), ""]
    lines += [
        "## Every service",
        "",
        "The workers too; beside it `/ready`, `/metrics`, `/openapi.json` and `/docs`, all without a token.",
        "",
        *_table(documents["gateway"], shared),
    ]
    return "\n".join(lines)


def _table(document: dict[str, Any], paths: set[str]) -> list[str]:
    told = [(path, method, it) for path in sorted(paths) for method, it in sorted(document["paths"][path].items())]
    return [*_HEADING, *(_row(path, method, it) for path, method, it in told)]


def _row(path: str, method: str, operation: dict[str, Any]) -> str:
    statuses = sorted(operation["responses"])
    needs = operation.get("description", "").removeprefix("Needs: ").rstrip(".")
    cells = [
        f"`{method.upper()} {path}`",
        operation["summary"],
        "nothing" if not operation["security"] else needs,
        _taken(operation),
        ", ".join(status for status in statuses if status < "400"),
        ", ".join(status for status in statuses if status >= "400"),
    ]
    return f"| {' | '.join(cells)} |"


def _taken(operation: dict[str, Any]) -> str:
    """The name of the body's schema, then the parameters of the query and the headers."""
    parameters = [f"`{it['name']}`" for it in operation.get("parameters", []) if it["in"] in {"query", "header"}]
    return ", ".join([*_body(operation), *parameters])


def _body(operation: dict[str, Any]) -> list[str]:
    content = operation.get("requestBody", {}).get("content", {})
    names = {it["schema"].get("$ref", "").rpartition("/")[2] for it in content.values()}
    return [f"`{name}` as its body" for name in sorted(names - {""})]


def _document(name: str) -> dict[str, Any]:
    app = build_app(name, HANDLERS[name], authenticate=_nobody, state={}, checks={}, title=name)
    found: dict[str, Any] = json.loads(asyncio.run(front_door._ask(app, "/openapi.json")))
    return found


async def _nobody(token: str) -> Caller:
    raise Unauthenticated(token)
