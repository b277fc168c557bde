"""Users seen: oneself, one, many; and contacts made by those who write to them."""

from typing import Any, ClassVar
from uuid import UUID

import msgspec
from litestar import Response
from litestar.params import FromPath, JSONBody

from carillon.contracts.people import User
from carillon.contracts.templates import Language
from carillon.kit.http.access import ApiRequest, self_or
from carillon.kit.http.answer import Answer
from carillon.kit.http.conditions import etag
from carillon.kit.http.envelope import Envelope
from carillon.kit.http.idempotency import REPLAYED, IdempotencyKey
from carillon.kit.http.routing import endpoint
from carillon.users.actions import joining
from carillon.users.actions.joining import ensure_contact_once
from carillon.users.errors import UnknownUser
from carillon.users.routes.authentication import Email, Name
from carillon.users.routes.once import once_of
from carillon.users.routes.resources import READ, TAG, WRITE, resources


class ContactWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /contacts`. An existing person is answered as they are: the rest is for a new one."""

    EXAMPLES: ClassVar[Any] = (
        {"email": "ada@example.com", "name": "Ada Lovelace", "attributes": {"plan": "free"}, "locale": "pt-BR"},
    )

    email: Email
    name: Name | None = None
    attributes: dict[str, Any] | None = None
    locale: Language | None = None


@endpoint("GET", "/users/me", needs=self_or(READ), says="The user whose token this is", errors=(404,), tag=TAG)
async def me(request: ApiRequest) -> Answer[Envelope[User]]:
    return await _seen(request, request.auth.caller_id)


@endpoint("GET", "/users/{user_id:uuid}", needs=self_or(READ), says="One user", errors=(404,), tag=TAG)
async def one_user(request: ApiRequest, user_id: FromPath[UUID]) -> Answer[Envelope[User]]:
    return await _seen(request, user_id)


@endpoint(
    "POST", "/contacts", needs=WRITE, says="Find a person by e-mail address, or make one without a password",
    status=201, also=(200,), answers=Envelope[User], errors=(404, 409), tag=TAG,
)  # fmt: skip
async def put_contact(
    request: ApiRequest, data: JSONBody[ContactWanted], idempotency_key: IdempotencyKey = None
) -> Response[Envelope[User]]:
    here = resources(request)
    user, became = await ensure_contact_once(
        joining.ContactWanted(data.email, data.name, data.attributes or {}, data.locale),
        once_of(request, idempotency_key, data, makes="contact"),
        people=here.stores.people,
        keys=here.stores.idempotency_keys,
        actor_id=request.auth.caller_id,
    )
    headers = REPLAYED if became == "made before" else {}
    return Response(Envelope(user, became), status_code=201 if became == "made" else 200, headers=headers)


async def _seen(request: ApiRequest, user_id: UUID) -> Answer[Envelope[User]]:
    caller = request.auth
    user = await resources(request).stores.people.user(user_id, seen_by=caller.caller_id, sees_all=caller.may(READ))
    if user is None:
        raise UnknownUser
    return Answer(Envelope(user), headers=etag(user.version))


HANDLERS = [me, one_user, put_contact]
