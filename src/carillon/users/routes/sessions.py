"""Sessions: renewed by a refresh token, listed and ended by their owner."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

import msgspec
from litestar import Response
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from carillon.contracts.users import LONGEST_TOKEN
from carillon.kit.http.access import ANYONE, LOGGED_IN, ApiRequest
from carillon.kit.http.answer import NO_STORE
from carillon.kit.http.envelope import Envelope, page_of
from carillon.kit.http.paging import Page, PageSize
from carillon.kit.http.routing import endpoint
from carillon.users.actions.renewing import Opening, Scope, SignedIn, end_session, log_out, refresh
from carillon.users.domain.tokens import Client, Session
from carillon.users.routes.resources import TAG, Resources, client_address, counted, own_session, resources


class AccessGranted(msgspec.Struct, frozen=True):
    """A token for `Authorization: Bearer …`, and the one that `POST /auth/refresh` takes once; lives in seconds."""

    access_token: str
    expires_in: int
    refresh_token: str
    refresh_expires_in: int
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - a kind, no secret


class Refresh(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /auth/refresh`."""

    EXAMPLES: ClassVar[Any] = ({"refresh_token": "crr_01a1d1a0…"},)

    refresh_token: Annotated[str, Meta(max_length=LONGEST_TOKEN)]


class Logout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /auth/logout`."""

    EXAMPLES: ClassVar[Any] = ({}, {"scope": "others"}, {"scope": "all"})

    scope: Scope = "this"


class SessionsEnded(msgspec.Struct, frozen=True):
    ended: int


@endpoint("POST", "/auth/refresh", needs=ANYONE, says="The next tokens of a session", errors=(401, 429, 503), tag=TAG)
async def refresh_session(request: ApiRequest, data: JSONBody[Refresh]) -> Response[Envelope[AccessGranted]]:
    here = resources(request)
    limit = here.settings.refreshes_per_minute
    headers = await counted(here, "refreshes", client_address(request), limit, strict=True)
    signed = await refresh(
        data.refresh_token,
        renewals=here.stores.sessions,
        signer=here.access_tokens,
        grace_seconds=here.settings.refresh_grace_seconds,
        changed=here.changes.revoked,
    )
    return Response(Envelope(granted(signed), "renewed"), headers={**headers, **NO_STORE})


@endpoint("POST", "/auth/logout", needs=LOGGED_IN, says="End sessions of one's own", tag=TAG, strict=True)
async def log_out_here(request: ApiRequest, data: JSONBody[Logout]) -> Envelope[SessionsEnded]:
    here = resources(request)
    ended = await log_out(
        request.auth.caller_id,
        own_session(request),
        data.scope,
        sessions=here.stores.sessions,
        changed=here.changes.revoked,
    )
    return Envelope(SessionsEnded(ended), "signed out")


@endpoint("GET", "/auth/sessions", needs=LOGGED_IN, says="One's own sessions, the newest first", tag=TAG, strict=True)
async def list_sessions(
    request: ApiRequest,
    page: Page = 1,
    limit: PageSize = 20,
) -> Envelope[Sequence[Session]]:
    found, total = await resources(request).stores.sessions.sessions(
        request.auth.caller_id, current=own_session(request), limit=limit, offset=(page - 1) * limit
    )
    return page_of(found, total=total, limit=limit, page=page)


@endpoint(
    "DELETE", "/auth/sessions/{session_id:uuid}",
    needs=LOGGED_IN, says="End one session of one's own", errors=(404,), tag=TAG, strict=True,
)  # fmt: skip
async def delete_session(request: ApiRequest, session_id: FromPath[UUID]) -> Envelope[None]:
    here = resources(request)
    await end_session(request.auth.caller_id, session_id, sessions=here.stores.sessions, changed=here.changes.revoked)
    return Envelope(None, "ended")


def granted(signed: SignedIn) -> AccessGranted:
    return AccessGranted(signed.access_token, signed.expires_in, signed.refresh_token, signed.refresh_expires_in)


def opening(here: Resources) -> Opening:
    """How a session is opened once somebody is known."""
    return Opening(here.stores.sessions, here.access_tokens, here.settings.session_days * 86_400)


def client_of(request: ApiRequest) -> Client:
    return Client(request.headers.get("user-agent", ""), client_address(request))


HANDLERS = [refresh_session, log_out_here, list_sessions, delete_session]
