"""What a user agreed to."""

from typing import Annotated, Any, ClassVar
from uuid import UUID

import msgspec
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from carillon.contracts.preferences import Choices
from carillon.kit.auth import Caller
from carillon.kit.cache import Found
from carillon.kit.http.access import ApiRequest, owner_or
from carillon.kit.http.answer import Answer
from carillon.kit.http.envelope import Envelope
from carillon.kit.http.routing import endpoint
from carillon.kit.http.shortcut import Ready, Shortcut, Tokens
from carillon.users.actions.changing import adjust_preferences, replace_preferences
from carillon.users.actions.looking_up import LookUps
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


PREFERENCES = "/users/{user_id:uuid}/preferences"


def told(found: Found[Preferences]) -> Ready:
    """One answer for all who look up, by whichever way it is sent."""
    if found.source == "stale":
        return Ready(Envelope(found.value, "stale"), {"Warning": '110 - "Response is Stale"'})
    return Ready(Envelope(found.value))


@endpoint("GET", PREFERENCES, needs=owner_or(READ), says="What a user agreed to", errors=(404,), tag=TAG)
async def read_preferences(request: ApiRequest, user_id: FromPath[UUID]) -> Answer[Envelope[Preferences]]:
    if not may_look_up(request.auth, user_id):
        raise UnknownUser
    ready = told(await resources(request).look_ups.preferences(user_id))
    return Answer(ready.content, headers=ready.headers)


def may_look_up(caller: Caller, user_id: UUID) -> bool:
    return user_id == caller.caller_id or caller.may(READ)


def preferences_shortcut(look_ups: LookUps, tokens: Tokens, *, counted: bool) -> Shortcut:
    """`read_preferences` for whoever is known and asks for what is in memory."""

    def answer(user_id: UUID, caller: Caller) -> Ready | None:
        found = look_ups.preferences_at_hand(user_id) if may_look_up(caller, user_id) else None
        return None if found is None else told(found)

    return Shortcut(PREFERENCES, answer, tokens=tokens, service="users", counted=counted)


@endpoint("PUT", PREFERENCES, needs=owner_or(WRITE), says="Replace all preferences", errors=(404,), tag=TAG)
async def put_preferences(
    request: ApiRequest, user_id: FromPath[UUID], data: JSONBody[WholePreferences]
) -> Envelope[Preferences]:
    here = resources(request)
    choices = Choices(email=data.email, push=data.push, categories=data.categories)
    kept = await replace_preferences(user_id, choices, by=actor(request), keeper=here.preferences, changed=here.changes)
    return Envelope(kept, "replaced")


@endpoint("PATCH", PREFERENCES, needs=owner_or(WRITE), says="Change some preferences", errors=(404,), tag=TAG)
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
