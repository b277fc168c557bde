"""What a user agreed to."""

from typing import Annotated, Any, ClassVar
from uuid import UUID

import msgspec
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from carillon.contracts.preferences import Choices
from carillon.kit.http.access import ApiRequest, owner_or
from carillon.kit.http.answer import Answer
from carillon.kit.http.envelope import Envelope
from carillon.kit.http.routing import endpoint
from carillon.users.actions.changing import adjust_preferences, replace_preferences
from carillon.users.domain.preferences import CATEGORY, MOST_CATEGORIES, Preferences
from carillon.users.errors import UnknownUser
from carillon.users.routes.resources import READ, TAG, WRITE, actor, resources

Category = Annotated[str, Meta(min_length=1, max_length=100, pattern=CATEGORY)]


class WholePreferences(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of PUT: what is not given in `categories` is undecided afterwards."""

    EXAMPLES: ClassVar[Any] = ({"email": True, "push": False, "categories": {"billing": True}},)

    email: bool
    push: bool
    categories: Annotated[dict[Category, bool], Meta(max_length=MOST_CATEGORIES)] = {}


class PartOfPreferences(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of PATCH: what is absent or null stays; a category of null becomes undecided."""

    EXAMPLES: ClassVar[Any] = ({"push": False}, {"categories": {"news": False, "billing": None}})

    email: bool | None = None
    push: bool | None = None
    categories: Annotated[dict[Category, bool | None], Meta(max_length=MOST_CATEGORIES)] | None = None


_PREFERENCES = "/users/{user_id:uuid}/preferences"


@endpoint("GET", _PREFERENCES, needs=owner_or(READ), says="What a user agreed to", errors=(404,), tag=TAG)
async def read_preferences(request: ApiRequest, user_id: FromPath[UUID]) -> Answer[Envelope[Preferences]]:
    if user_id != request.auth.caller_id and not request.auth.may(READ):
        raise UnknownUser
    found = await resources(request).look_ups.preferences(user_id)
    if found.source == "stale":
        return Answer(Envelope(found.value, "stale"), headers={"Warning": '110 - "Response is Stale"'})
    return Answer(Envelope(found.value))


@endpoint("PUT", _PREFERENCES, needs=owner_or(WRITE), says="Replace all preferences", errors=(404,), tag=TAG)
async def put_preferences(
    request: ApiRequest, user_id: FromPath[UUID], data: JSONBody[WholePreferences]
) -> Envelope[Preferences]:
    here = resources(request)
    choices = Choices(email=data.email, push=data.push, categories=data.categories)
    kept = await replace_preferences(user_id, choices, by=actor(request), keeper=here.preferences, changed=here.changes)
    return Envelope(kept, "replaced")


@endpoint("PATCH", _PREFERENCES, needs=owner_or(WRITE), says="Change some preferences", errors=(404,), tag=TAG)
async def patch_preferences(
    request: ApiRequest, user_id: FromPath[UUID], data: JSONBody[PartOfPreferences]
) -> Envelope[Preferences]:
    here = resources(request)
    kept = await adjust_preferences(
        user_id,
        email=data.email,
        push=data.push,
        categories=data.categories or {},
        by=actor(request),
        keeper=here.preferences,
        changed=here.changes,
    )
    return Envelope(kept, "changed")


HANDLERS = [read_preferences, put_preferences, patch_preferences]
