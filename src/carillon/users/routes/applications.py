"""Applications and their tokens: programs that ask for notifications."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar
from uuid import UUID

import msgspec
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from carillon.kit.http.access import ApiRequest
from carillon.kit.http.answer import Answer
from carillon.kit.http.envelope import Envelope, page_of
from carillon.kit.http.idempotency import REPLAYED, IdempotencyKey
from carillon.kit.http.paging import Page, PageSize
from carillon.kit.http.routing import endpoint
from carillon.users.actions.minting import (
    MOST_TOKENS,
    Wish,
    disable_application,
    make_application,
    mint_for_application,
    revoke_application_token,
)
from carillon.users.domain.people import ONE_LINE
from carillon.users.domain.tokens import Application, OpaqueSeen
from carillon.users.errors import UnknownApplication
from carillon.users.routes.once import once_of
from carillon.users.routes.resources import TAG, resources
from carillon.users.routes.roles import PermissionNamed
from carillon.users.routes.tokens import Days, TokenMade, TokenName, minter, shown

READ_APPLICATIONS = "applications:read"
WRITE_APPLICATIONS = "applications:write"
_ONE = "/applications/{application_id:uuid}"


class ApplicationWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /applications`. Without permissions: those of the role `application`."""

    EXAMPLES: ClassVar[Any] = (
        {"name": "billing"},
        {"name": "reporting", "permissions": ["notifications:read"]},
    )

    name: Annotated[
        str, Meta(min_length=1, max_length=100, pattern=ONE_LINE, description="One line", examples=["billing"])
    ]
    permissions: Annotated[list[PermissionNamed], Meta(min_length=1, max_length=100)] | None = None


class ApplicationTokenWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /applications/{id}/tokens`. Without abilities: all that the application may do."""

    EXAMPLES: ClassVar[Any] = ({"name": "production", "expires_in_days": 90},)

    name: TokenName
    abilities: Annotated[list[PermissionNamed], Meta(min_length=1, max_length=100)] | None = None
    expires_in_days: Days


class ApplicationSeen(msgspec.Struct, frozen=True, kw_only=True):
    """An application with the tokens that work; never their secrets."""

    application_id: UUID
    name: str
    permissions: list[str]
    created_at: datetime
    disabled_at: datetime | None
    tokens: list[OpaqueSeen]


@endpoint("GET", "/applications", needs=READ_APPLICATIONS, says="Applications, the newest first", tag=TAG, strict=True)
async def list_applications(
    request: ApiRequest, page: Page = 1, limit: PageSize = 20
) -> Envelope[Sequence[Application]]:
    found, total = await resources(request).stores.applications.page(limit=limit, offset=(page - 1) * limit)
    return page_of(found, total=total, limit=limit, page=page)


@endpoint(
    "POST", "/applications",
    needs=WRITE_APPLICATIONS, says="Make an application", status=201, also=(200,), answers=Envelope[Application],
    errors=(404, 409), tag=TAG, strict=True,
)  # fmt: skip
async def post_application(
    request: ApiRequest, data: JSONBody[ApplicationWanted], idempotency_key: IdempotencyKey = None
) -> Answer[Envelope[Application]]:
    by = minter(request, once_of(request, idempotency_key, data, makes="application"))
    applications = resources(request).stores.applications
    made, new = await make_application(data.name.strip(), data.permissions, by=by, applications=applications)
    if not new:
        return Answer(Envelope(made, "made before"), status_code=200, headers=REPLAYED)
    return Answer(Envelope(made, "made; give it a token: POST /api/v1/applications/{id}/tokens"), status_code=201)


@endpoint(
    "GET", _ONE, needs=READ_APPLICATIONS, says="One application and its tokens", errors=(404,), tag=TAG, strict=True
)
async def one_application(request: ApiRequest, application_id: FromPath[UUID]) -> Envelope[ApplicationSeen]:
    here = resources(request)
    found = await here.stores.applications.application(application_id)
    if found is None:
        raise UnknownApplication
    tokens, _ = await here.stores.opaque_tokens.tokens(
        owner="application", owner_id=application_id, limit=MOST_TOKENS, offset=0
    )
    seen = ApplicationSeen(
        application_id=found.application_id,
        name=found.name,
        permissions=found.permissions,
        created_at=found.created_at,
        disabled_at=found.disabled_at,
        tokens=tokens,
    )
    return Envelope(seen)


@endpoint(
    "DELETE", _ONE,
    needs=WRITE_APPLICATIONS, says="Disable an application and all its tokens", errors=(404,), tag=TAG, strict=True,
)  # fmt: skip
async def delete_application(request: ApiRequest, application_id: FromPath[UUID]) -> Envelope[Application]:
    here = resources(request)
    disabled = await disable_application(
        application_id, by=minter(request), applications=here.stores.applications, changed=here.changes.revoked
    )
    return Envelope(disabled, "disabled")


@endpoint(
    "POST", f"{_ONE}/tokens",
    needs=WRITE_APPLICATIONS, says="Make a token for an application", status=201, also=(200,),
    answers=Envelope[TokenMade], errors=(404, 409), tag=TAG, strict=True,
)  # fmt: skip
async def post_application_token(
    request: ApiRequest,
    application_id: FromPath[UUID],
    data: JSONBody[ApplicationTokenWanted],
    idempotency_key: IdempotencyKey = None,
) -> Answer[Envelope[TokenMade]]:
    here = resources(request)
    by = minter(request, once_of(request, idempotency_key, data, makes=f"token of {application_id}"))
    wish = Wish(data.name.strip(), data.abilities or (), data.expires_in_days)
    minted = await mint_for_application(
        application_id, wish, by=by, tokens=here.stores.opaque_tokens, applications=here.stores.applications
    )
    return shown(minted)


@endpoint(
    "DELETE", f"{_ONE}/tokens/{{token_id:uuid}}",
    needs=WRITE_APPLICATIONS, says="Revoke a token of an application", errors=(404,), tag=TAG, strict=True,
)  # fmt: skip
async def delete_application_token(
    request: ApiRequest, application_id: FromPath[UUID], token_id: FromPath[UUID]
) -> Envelope[None]:
    here = resources(request)
    await revoke_application_token(
        application_id,
        token_id,
        by=minter(request),
        tokens=here.stores.opaque_tokens,
        applications=here.stores.applications,
        changed=here.changes.revoked,
    )
    return Envelope(None, "revoked")


HANDLERS = [
    list_applications, post_application, one_application, delete_application, post_application_token,
    delete_application_token,
]  # fmt: skip
