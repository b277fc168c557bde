"""What a user agreed to."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar
from uuid import UUID

import msgspec
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET, Meta, UnsetType

from carillon.contracts.channels import CHANNELS, Channel
from carillon.contracts.people import Preferences
from carillon.contracts.preferences import Choices
from carillon.contracts.quiet_hours import QuietHours, TimezoneName, WallTime, known_zones
from carillon.kit.auth import Caller
from carillon.kit.cache import Found
from carillon.kit.errors import invalid
from carillon.kit.http.access import SELF_READ, ApiRequest, acts_for_self, self_or
from carillon.kit.http.answer import Answer
from carillon.kit.http.conditions import IfMatch, etag, expected_versions
from carillon.kit.http.envelope import Envelope
from carillon.kit.http.moments import moment
from carillon.kit.http.routing import endpoint
from carillon.kit.http.shortcut import Ready, Shortcut, Tokens, Written
from carillon.users.actions.changing import change_preferences
from carillon.users.actions.looking_up import LookUps
from carillon.users.domain.preferences import CATEGORY, MOST_CATEGORIES, Adjustment, adjusted
from carillon.users.errors import UnknownUser
from carillon.users.routes.history import preferences_then
from carillon.users.routes.resources import READ, TAG, WRITE, actor, resources

Category = Annotated[str, Meta(min_length=1, max_length=100, pattern=CATEGORY)]


class QuietHoursGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A daily window; over midnight where `end` is the earlier. `timezone` null: the user's own, else UTC."""

    start: WallTime
    end: WallTime
    timezone: TimezoneName | None = None


class ByChannelGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A choice for some channels; the others are undecided."""

    email: bool | UnsetType = UNSET
    push: bool | UnsetType = UNSET


class ByChannelChanged(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is absent stays; null becomes undecided."""

    email: bool | UnsetType | None = UNSET
    push: bool | UnsetType | None = UNSET


class WholePreferences(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of PUT: what is not given in `categories` is undecided afterwards; without `quiet_hours` there are none."""

    EXAMPLES: ClassVar[Any] = (
        {"email": True, "push": False, "categories": {"billing": True}},
        {
            "email": True,
            "push": True,
            "categories": {"news": {"email": True, "push": False}},
            "quiet_hours": {"start": "22:00", "end": "07:00", "timezone": "Europe/Paris"},
        },
    )

    email: bool
    push: bool
    categories: Annotated[dict[Category, bool | ByChannelGiven], Meta(max_length=MOST_CATEGORIES)] = {}
    quiet_hours: QuietHoursGiven | None = None


class PartOfPreferences(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of PATCH: what is absent stays, and so does a channel of null; a category of null becomes undecided, on all
    channels or on one. `quiet_hours` of null takes them away.
    """

    EXAMPLES: ClassVar[Any] = (
        {"push": False},
        {"categories": {"news": False, "billing": None}},
        {"categories": {"news": {"push": False, "email": None}}, "quiet_hours": {"start": "22:00", "end": "07:00"}},
    )

    email: bool | None = None
    push: bool | None = None
    categories: Annotated[dict[Category, bool | ByChannelChanged | None], Meta(max_length=MOST_CATEGORIES)] | None = (
        None
    )
    quiet_hours: QuietHoursGiven | UnsetType | None = UNSET


_AS_OF = QueryParameter(
    max_length=40, format="date-time", description="What had been agreed to by then; without a zone it is UTC"
)
PREFERENCES = "/users/{user_id:uuid}/preferences"


def told(found: Found[Preferences]) -> Ready:
    """One answer for all who look up, by whichever way it is sent."""
    headers = etag(found.value.version)
    if found.source == "stale":
        return Ready(Envelope(found.value, "stale"), {**headers, "Warning": '110 - "Response is Stale"'})
    return Ready(Envelope(found.value), headers)


@endpoint("GET", PREFERENCES, needs=self_or(READ), says="What a user agreed to", errors=(404,), tag=TAG)
async def read_preferences(
    request: ApiRequest,
    user_id: FromPath[UUID],
    as_of: Annotated[str | None, _AS_OF] = None,
) -> Answer[Envelope[Preferences]]:
    if not may_look_up(request.auth, user_id):
        raise UnknownUser
    if (at := moment("as_of", as_of)) is not None:
        return Answer(Envelope(await preferences_then(request, user_id, at)))
    ready = told(await resources(request).look_ups.preferences(user_id))
    return Answer(ready.content, headers=ready.headers)


def may_look_up(caller: Caller, user_id: UUID) -> bool:
    return (user_id == caller.caller_id and acts_for_self(caller, SELF_READ)) or caller.may(READ)


def preferences_shortcut(look_ups: LookUps, tokens: Tokens, *, counted: bool) -> Shortcut:
    """`read_preferences` for whoever is known: at once what is in memory, looked up what is not."""

    def written(preferences: Preferences) -> Written:
        return Written.of(told(Found(preferences, "cached")))

    def at_hand(user_id: UUID) -> Written | None:
        return look_ups.at_hand(user_id, written)

    async def look_up(user_id: UUID) -> Ready:
        return told(await look_ups.preferences(user_id))

    return Shortcut(
        PREFERENCES,
        may=may_look_up,
        at_hand=at_hand,
        look_up=look_up,
        tokens=tokens,
        service="users",
        counted=counted,
    )


@endpoint("PUT", PREFERENCES, needs=self_or(WRITE), says="Replace all preferences", errors=(404, 412), tag=TAG)
async def put_preferences(
    request: ApiRequest, user_id: FromPath[UUID], data: JSONBody[WholePreferences], if_match: IfMatch = None
) -> Answer[Envelope[Preferences]]:
    whole = Adjustment(data.email, data.push, _by_channel(data.categories), _quiet_hours(data.quiet_hours))
    choices = adjusted(Choices(), whole)
    return await _changed(request, user_id, lambda _: choices, if_match, "replaced")


@endpoint("PATCH", PREFERENCES, needs=self_or(WRITE), says="Change some preferences", errors=(404, 412), tag=TAG)
async def patch_preferences(
    request: ApiRequest, user_id: FromPath[UUID], data: JSONBody[PartOfPreferences], if_match: IfMatch = None
) -> Answer[Envelope[Preferences]]:
    part = Adjustment(data.email, data.push, _by_channel(data.categories or {}), _quiet_hours(data.quiet_hours))
    return await _changed(request, user_id, lambda present: adjusted(present, part), if_match, "changed")


async def _changed(
    request: ApiRequest, user_id: UUID, change: Callable[[Choices], Choices], if_match: str | None, says: str
) -> Answer[Envelope[Preferences]]:
    here = resources(request)
    kept = await change_preferences(
        user_id,
        change,
        by=actor(request),
        keeper=here.stores.preferences,
        changed=here.changes,
        expected=expected_versions(if_match),
    )
    return Answer(Envelope(kept, says), headers=etag(kept.version))


def _by_channel(
    categories: Mapping[str, bool | ByChannelGiven | ByChannelChanged | None],
) -> dict[str, bool | dict[Channel, bool | None] | None]:
    return {
        name: choice if choice is None or isinstance(choice, bool) else _given(choice)
        for name, choice in categories.items()
    }


def _given(choice: ByChannelGiven | ByChannelChanged) -> dict[Channel, bool | None]:
    return {channel: value for channel in CHANNELS if (value := getattr(choice, channel)) is not UNSET}


def _quiet_hours(given: QuietHoursGiven | UnsetType | None) -> QuietHours | UnsetType | None:
    if not isinstance(given, QuietHoursGiven):
        return given
    if given.start == given.end:
        raise invalid("quiet_hours.end", "Must not be the start: quiet all day long is an opt-out.")
    if given.timezone is not None and given.timezone not in known_zones():
        raise invalid("quiet_hours.timezone", "Is no name of the IANA time zone database.")
    return QuietHours(given.start, given.end, given.timezone)


HANDLERS = [read_preferences, put_preferences, patch_preferences]
