"""HTTP of the broadcasts: one template to many people."""

from collections.abc import Sequence
from typing import cast
from uuid import UUID

from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody

from carillon.contracts.broadcasts import (
    AudienceAsked,
    AudienceCount,
    Broadcast,
    BroadcastRequested,
    BroadcastStatus,
    RecipientsGiven,
)
from carillon.gateway.actions.broadcast import Studio, begin, count, give, read, turn
from carillon.gateway.broadcasts import shown
from carillon.kit.http.access import ApiRequest, owner_or, owner_unless
from carillon.kit.http.answer import Answer
from carillon.kit.http.envelope import Envelope, page_of
from carillon.kit.http.paging import Page, PageSize
from carillon.kit.http.routing import endpoint
from carillon.kit.telemetry import correlation

BROADCAST = "notifications:broadcast"
READ = "notifications:read"
EVERYTHING = "notifications:*"
_TAG = "broadcasts"


def _studio(request: ApiRequest) -> Studio:
    return cast(Studio, request.app.state.broadcasts)


@endpoint(
    "POST",
    "/broadcasts",
    needs=BROADCAST,
    says="Write to many: 201 once it is committed, 200 with its progress for a replay",
    status=201,
    also=(200,),
    answers=Envelope[Broadcast],
    errors=(404, 409),
    tag=_TAG,
)
async def begin_one(request: ApiRequest, data: JSONBody[BroadcastRequested]) -> Answer[Envelope[Broadcast]]:
    kept, made = await begin(
        data, _studio(request), caller_id=request.auth.caller_id, correlation_id=correlation.current()
    )
    return Answer(Envelope(shown(kept), "begun" if made else "begun before"), status_code=201 if made else 200)


@endpoint(
    "POST", "/broadcasts/preview", needs=BROADCAST, says="How many people an audience has now; writes nothing", tag=_TAG
)
async def preview(request: ApiRequest, data: JSONBody[AudienceAsked]) -> Envelope[AudienceCount]:
    return Envelope(AudienceCount(await count(data.audience, _studio(request))))


@endpoint("GET", "/broadcasts", needs=owner_or(READ), says="The newest first, with their progress", tag=_TAG)
async def show_broadcasts(request: ApiRequest, page: Page = 1, limit: PageSize = 20) -> Envelope[Sequence[Broadcast]]:
    found, total = await _studio(request).store.page(
        owner=owner_unless(request, READ), limit=limit, offset=(page - 1) * limit
    )
    return page_of([shown(one) for one in found], total=total, limit=limit, page=page)


@endpoint(
    "GET",
    "/broadcasts/{broadcast_id:uuid}",
    needs=owner_or(READ),
    says="One broadcast and its progress, a second old at most",
    errors=(404,),
    tag=_TAG,
)
async def show_broadcast(request: ApiRequest, broadcast_id: FromPath[UUID]) -> Envelope[Broadcast]:
    return Envelope(shown(await read(broadcast_id, _studio(request).store, owner=owner_unless(request, READ))))


@endpoint(
    "POST",
    "/broadcasts/{broadcast_id:uuid}/recipients",
    needs=BROADCAST,
    says="Add people by their ids, 10,000 a call, before it begins",
    errors=(404, 409),
    tag=_TAG,
)
async def add_recipients(
    request: ApiRequest, broadcast_id: FromPath[UUID], data: JSONBody[RecipientsGiven]
) -> Envelope[Broadcast]:
    return Envelope(
        shown(await give(broadcast_id, data.user_ids, _studio(request), owner=owner_unless(request, EVERYTHING)))
    )


def _turning(word: str, to: BroadcastStatus, says: str) -> HTTPRouteHandler:
    @endpoint(
        "POST",
        f"/broadcasts/{{broadcast_id:uuid}}/{word}",
        needs=BROADCAST,
        says=says,
        errors=(404, 409),
        tag=_TAG,
    )
    async def turn_it(request: ApiRequest, broadcast_id: FromPath[UUID]) -> Envelope[Broadcast]:
        kept = await turn(
            broadcast_id, to, _studio(request), owner=owner_unless(request, EVERYTHING), by=request.auth.caller_id
        )
        return Envelope(shown(kept))

    return turn_it


BROADCAST_ROUTES: tuple[HTTPRouteHandler, ...] = (
    begin_one,
    preview,
    show_broadcasts,
    show_broadcast,
    add_recipients,
    _turning("pause", "paused", "Enqueue nobody further; what is enqueued is sent"),
    _turning("resume", "running", "Go on where it stopped; failures are counted anew"),
    _turning("cancel", "cancelling", "Stop for good, and take back what no relay has had yet"),
)
