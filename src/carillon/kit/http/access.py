"""Access: every route states what it needs in one place, and one guard sees to it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from uuid import UUID

from litestar.connection import Request
from litestar.datastructures import State

from carillon.kit.auth import Caller
from carillon.kit.errors import Forbidden, Unauthenticated
from carillon.kit.http.edge import TOLD
from carillon.kit.http.queries import refuse_unknown

ANYONE: Final = "anyone"
SIGNED_IN: Final = "signed_in"
LOGGED_IN: Final = "logged_in"
"""Somebody with a session: an opaque token of theirs may neither make further tokens nor end sessions."""
SELF_READ: Final = "self:read"
SELF_WRITE: Final = "self:write"
_SELF, _OWNER = "self or ", "owner or "

ApiRequest = Request[None, Caller, State]

CountCaller = Callable[[Caller], Awaitable[Mapping[str, str]]]
"""Counts a request of this caller and gives headers for its answer. Raises TooManyRequests."""


def owner_or(permission: str) -> str:
    """The owner of the record, or a holder of `permission`: the store's query decides, so that a stranger sees 404."""
    return f"{_OWNER}{permission}"


def owner_unless(request: ApiRequest, permission: str) -> UUID | None:
    """Whose records the caller may reach by a route of `owner_or`; None, with `permission`: everybody's."""
    return None if request.auth.may(permission) else request.auth.caller_id


def self_or(permission: str) -> str:
    """As `owner_or`, of the record that is the caller's own person: an opaque token of theirs acts on it only with the
    ability `self:read` or `self:write`."""
    return f"{_SELF}{permission}"


async def guard(request: Request[Any, Any, Any], limit: CountCaller | None = None) -> None:
    """Verify the token and the permission that the route's `needs` names; the caller becomes `request.auth`. Then
    refuse query parameters that the route does not take.

    A strict route has the token verified now, by whoever knows of revocations; nothing that is remembered will do.
    Runs before the body is read. No guard in the framework's sense: that one copies the handler each time (26 µs).
    """
    options = request.route_handler.opt
    needs: str = options.get("needs", SIGNED_IN)
    if needs != ANYONE:
        await _admit(request, needs, limit)
    if request.scope["query_string"] and (known := options.get("query")) is not None:
        refuse_unknown(request, known)


async def _admit(request: Request[Any, Any, Any], needs: str, limit: CountCaller | None) -> None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated
    options, state = request.route_handler.opt, request.app.state
    caller: Caller = await (state.verify if options.get("strict") else state.authenticate)(token.strip())
    request.scope["auth"] = caller
    if limit is not None:
        await _count(request, caller, limit)
    if needs == LOGGED_IN:
        if caller.session_id is None:
            raise Forbidden("This needs somebody who has logged in: no personal access token, application or service.")
        return
    if needs.startswith(_SELF):
        own = SELF_READ if request.method == "GET" else SELF_WRITE
        if not acts_for_self(caller, own) and not caller.may(needs.removeprefix(_SELF)):
            raise Forbidden(f"This token was made without the ability {own}: it may not act on its owner's own record.")
    elif needs != SIGNED_IN and not needs.startswith(_OWNER) and not caller.may(needs):
        raise Forbidden(f"This needs the permission {needs}.")


def acts_for_self(caller: Caller, ability: str) -> bool:
    """Whoever has logged in does; a token does what it was made for. Applications and services are no persons."""
    return caller.session_id is not None or caller.kind != "user" or caller.may(ability)


async def _count(request: Request[Any, Any, Any], caller: Caller, limit: CountCaller) -> None:
    """What is counted is told on the answer, also where that becomes a refusal for another reason."""
    told = await limit(caller)
    scope: dict[str, Any] = request.scope  # type: ignore[assignment]
    scope[TOLD] = [(name.lower().encode(), value.encode()) for name, value in told.items()]
