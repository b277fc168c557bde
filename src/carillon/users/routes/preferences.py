"""What a user agreed to, and the devices they are pushed to."""

from typing import Annotated, Any, ClassVar
from uuid import UUID

import msgspec
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from carillon.contracts.preferences import Choices
from carillon.contracts.users import DeviceGone, PushToken
from carillon.kit.http.access import ApiRequest, owner_or
from carillon.kit.http.answer import Answer
from carillon.kit.http.envelope import Envelope
from carillon.kit.http.routing import endpoint
from carillon.users.actions.changing import adjust_preferences, mark_device_gone, put_push_token, replace_preferences
from carillon.users.domain.people import User
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


class PushTokenGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of PUT: null takes the token away."""

    EXAMPLES: ClassVar[Any] = ({"push_token": "fcm-token"}, {"push_token": None})

    push_token: PushToken | None


class DeviceMarked(msgspec.Struct, frozen=True):
    """False: the token has moved on, or was known to be dead."""

    marked: bool


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


@endpoint(
    "PUT", "/users/{user_id:uuid}/push_token",
    needs=owner_or(WRITE), says="Set or take away the push token", errors=(404,), tag=TAG,
)  # fmt: skip
async def put_token(request: ApiRequest, user_id: FromPath[UUID], data: JSONBody[PushTokenGiven]) -> Envelope[User]:
    here, by = resources(request), actor(request)
    await put_push_token(user_id, data.push_token, by=by, keeper=here.devices, changed=here.changes)
    user = await here.people.user(user_id, seen_by=by.actor_id, sees_all=by.anyone)
    if user is None:
        raise UnknownUser
    return Envelope(user, "changed")


@endpoint("POST", "/users/devices/invalid", needs="devices:invalidate", says="Tell of a dead device token", tag=TAG)
async def device_gone(request: ApiRequest, data: JSONBody[DeviceGone]) -> Envelope[DeviceMarked]:
    here = resources(request)
    marked = await mark_device_gone(data, actor_id=request.auth.caller_id, keeper=here.devices, changed=here.changes)
    return Envelope(DeviceMarked(marked))


HANDLERS = [read_preferences, put_preferences, patch_preferences, put_token, device_gone]
