"""Personal access tokens: made, listed and revoked by who has logged in, and shown once."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar
from uuid import UUID

import msgspec
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from carillon.kit.http.access import LOGGED_IN, ApiRequest
from carillon.kit.http.answer import NO_STORE, Answer
from carillon.kit.http.envelope import Envelope, page_of
from carillon.kit.http.idempotency import REPLAYED, IdempotencyKey
from carillon.kit.http.paging import Page, PageSize
from carillon.kit.http.routing import endpoint
from carillon.users.actions.minting import Minted, Minter, Wish, mint_own, revoke_token
from carillon.users.domain.idempotency import Once
from carillon.users.domain.people import ONE_LINE
from carillon.users.domain.tokens import OpaqueSeen
from carillon.users.routes.once import once_of
from carillon.users.routes.resources import TAG, resources
from carillon.users.routes.roles import PermissionNamed

TokenName = Annotated[
    str, Meta(min_length=1, max_length=100, pattern=ONE_LINE, description="One line", examples=["reporting"])
]
Days = Annotated[int, Meta(ge=1, le=366, examples=[90])]


class TokenWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /auth/tokens`. Abilities are permissions that the caller holds."""

    EXAMPLES: ClassVar[Any] = ({"name": "reporting", "abilities": ["notifications:read"], "expires_in_days": 90},)

    name: TokenName
    abilities: Annotated[list[PermissionNamed], Meta(min_length=1, max_length=100)]
    expires_in_days: Days


class TokenMade(msgspec.Struct, frozen=True, kw_only=True):
    """`token` is shown this once: what is kept of it is a hash. Null where the request was sent before."""

    token_id: UUID
    name: str
    abilities: list[str]
    created_at: datetime
    expires_at: datetime
    token: str | None


@endpoint(
    "POST", "/auth/tokens",
    needs=LOGGED_IN, says="Make a personal access token", status=201, also=(200,),
    answers=Envelope[TokenMade], errors=(404, 409), tag=TAG, strict=True,
)  # fmt: skip
async def make_token(
    request: ApiRequest, data: JSONBody[TokenWanted], idempotency_key: IdempotencyKey = None
) -> Answer[Envelope[TokenMade]]:
    wish = Wish(data.name.strip(), data.abilities, data.expires_in_days)
    by = minter(request, once_of(request, idempotency_key, data, makes="token"))
    return shown(await mint_own(wish, by=by, tokens=resources(request).stores.opaque_tokens))


@endpoint("GET", "/auth/tokens", needs=LOGGED_IN, says="One's own tokens, the newest first", tag=TAG, strict=True)
async def list_tokens(request: ApiRequest, page: Page = 1, limit: PageSize = 20) -> Envelope[Sequence[OpaqueSeen]]:
    found, total = await resources(request).stores.opaque_tokens.tokens(
        owner="user", owner_id=request.auth.caller_id, limit=limit, offset=(page - 1) * limit
    )
    return page_of(found, total=total, limit=limit, page=page)


@endpoint(
    "DELETE", "/auth/tokens/{token_id:uuid}",
    needs=LOGGED_IN, says="Revoke a token of one's own", errors=(404,), tag=TAG, strict=True,
)  # fmt: skip
async def delete_token(request: ApiRequest, token_id: FromPath[UUID]) -> Envelope[None]:
    here, me = resources(request), request.auth.caller_id
    await revoke_token(
        token_id, owner="user", owner_id=me, by=me, tokens=here.stores.opaque_tokens, changed=here.changes.revoked
    )
    return Envelope(None, "revoked")


def minter(request: ApiRequest, once: Once | None = None) -> Minter:
    return Minter(request.auth.caller_id, request.auth.may, once)


def shown(minted: Minted) -> Answer[Envelope[TokenMade]]:
    made = minted.token
    body = TokenMade(
        token_id=made.token_id,
        name=made.name,
        abilities=made.abilities,
        created_at=made.created_at,
        expires_at=made.expires_at,
        token=minted.text,
    )
    if minted.text is None:
        return Answer(Envelope(body, "made before; its secret is not shown again"), status_code=200, headers=REPLAYED)
    return Answer(Envelope(body, "made; the token is shown this once"), status_code=201, headers=NO_STORE)


HANDLERS = [make_token, list_tokens, delete_token]
