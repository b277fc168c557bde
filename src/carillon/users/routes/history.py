"""What a user agreed to over time: who changed it, when and how."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from litestar.params import FromPath, QueryParameter

from carillon.contracts.people import Preferences
from carillon.kit.errors import invalid
from carillon.kit.http.access import ApiRequest, self_or
from carillon.kit.http.envelope import Envelope, page_of
from carillon.kit.http.routing import endpoint
from carillon.users.domain.preferences import PreferenceChange
from carillon.users.errors import UnknownThen, UnknownUser
from carillon.users.routes.resources import READ, TAG, resources

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


@endpoint(
    "GET", "/users/{user_id:uuid}/preferences/history",
    needs=self_or(READ), says="Every change of what a user agreed to, the newest first", errors=(404,), tag=TAG,
)  # fmt: skip
async def read_history(
    request: ApiRequest,
    user_id: FromPath[UUID],
    page: Annotated[int, QueryParameter(ge=1, le=10_000)] = 1,
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 20,
) -> Envelope[Sequence[PreferenceChange]]:
    caller, store = request.auth, resources(request).stores.consent
    changes, total = await store.page(
        user_id, seen_by=caller.caller_id, sees_all=caller.may(READ), limit=limit, offset=(page - 1) * limit
    )
    if not total:
        raise UnknownUser
    return page_of(changes, total=total, limit=limit, page=page)


async def preferences_then(request: ApiRequest, user_id: UUID, at: datetime) -> Preferences:
    """What had been agreed to at that time. Raises Invalid, UnknownThen."""
    if at > datetime.now(UTC):
        raise invalid("as_of", "Nobody knows what will be agreed to: give a time that has passed.")
    if at < _EARLIEST:
        raise UnknownThen
    caller = request.auth
    found = await resources(request).stores.consent.as_of(
        user_id, at, seen_by=caller.caller_id, sees_all=caller.may(READ)
    )
    if found is None:
        raise UnknownThen
    return found


HANDLERS = [read_history]
