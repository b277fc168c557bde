"""Every route of every service with what it needs, read from its handler; and whom a role's permissions let in."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

import carillon.gateway.routes
import carillon.templates.routes
import carillon.users.app
from carillon.kit.auth import Caller
from carillon.kit.http.access import ANYONE, LOGGED_IN, SIGNED_IN
from carillon.kit.http.system import system_routes

ROLES = ("user", "operator", "application", "admin")
Verdict = Literal["all", "own", "no"]

_HANDLERS = {
    "users": carillon.users.app.HANDLERS,
    "templates": carillon.templates.routes.ROUTES,
    "gateway": carillon.gateway.routes.ROUTES,
    "every service": system_routes("any", {}),
}
_OWN = re.compile("^(?:owner|self) or ")


@dataclass(frozen=True, slots=True, order=True)
class Declared:
    service: str
    path: str
    method: str
    needs: str


def declared() -> Iterator[Declared]:
    """By service, then by path."""
    for service, handlers in _HANDLERS.items():
        yield from sorted(
            Declared(service, path, method, handler.opt["needs"])
            for handler in handlers
            for path in handler.paths
            for method in handler.http_methods
        )


def permission_of(needs: str) -> str:
    """Of what a route needs, the permission beside which an owner has none to show."""
    return _OWN.sub("", needs)


def verdict(needs: str, permissions: Collection[str] | None) -> Verdict:
    """For a holder of `permissions`; None is nobody. `own`: their own record, and no other."""
    if needs == ANYONE:
        return "all"
    if permissions is None:
        return "no"
    caller = Caller(UUID(int=0), "user", frozenset(permissions), 0)
    if needs in {SIGNED_IN, LOGGED_IN} or caller.may(permission_of(needs)):
        return "all"
    return "own" if _OWN.match(needs) else "no"
