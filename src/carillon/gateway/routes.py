"""HTTP of the gateway: parse, call one action, render."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, cast
from uuid import UUID

from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from carillon.contracts.batches import MOST_BYTES, BatchReport, BatchRequested
from carillon.contracts.channels import Channel
from carillon.contracts.notifications import (
    Explanation,
    Forecast,
    Notification,
    NotificationAccepted,
    NotificationRequested,
    StatusReported,
    Timeline,
)
from carillon.contracts.statuses import Status
from carillon.gateway.actions.accept import Acceptor
from carillon.gateway.actions.accept_batch import BatchAcceptor, accept_batch
from carillon.gateway.actions.cancel import CancellationStore, cancel
from carillon.gateway.actions.dry_run import Rehearsal, dry_run
from carillon.gateway.actions.explain import explain
from carillon.gateway.actions.ports import NotificationStore, ReportStore
from carillon.gateway.actions.read import read_one, read_page, read_request, read_timeline
from carillon.gateway.actions.record import record_word
from carillon.gateway.broadcast_routes import BROADCAST_ROUTES
from carillon.gateway.dead_letter_routes import DEAD_LETTER_ROUTES
from carillon.gateway.domain import Wanted
from carillon.gateway.door import NOTIFICATIONS, SEND, read_notification, sent
from carillon.gateway.errors import TooMuchWaits
from carillon.gateway.stats_routes import STATS_ROUTES
from carillon.kit.errors import Forbidden
from carillon.kit.http.access import ApiRequest, owner_or, owner_unless
from carillon.kit.http.answer import Answer
from carillon.kit.http.envelope import Envelope, page_of
from carillon.kit.http.moments import Moment, moment
from carillon.kit.http.paging import Page, PageSize
from carillon.kit.http.routing import endpoint
from carillon.kit.telemetry import correlation

READ = "notifications:read"
REPORT = "notifications:report"
EVERYTHING = "notifications:*"
_TAG = "notifications"
_BY_REQUEST = "/api/v1/notifications/request/"


@dataclass(frozen=True, slots=True)
class Gateway:
    """What the routes reach: everything that `app.py` opened."""

    acceptor: Acceptor
    batches: BatchAcceptor
    rehearsal: Rehearsal
    notifications: NotificationStore
    reports: ReportStore
    cancellations: CancellationStore


def _gateway(request: ApiRequest) -> Gateway:
    return cast(Gateway, request.app.state.gateway)


@endpoint(
    "POST",
    NOTIFICATIONS,
    needs=SEND,
    says="Ask to notify a user: 202 once it is committed, 200 with the present status for a replay",
    status=202,
    also=(200,),
    answers=Envelope[NotificationAccepted],
    errors=(404, 409),
    tag=_TAG,
)
async def send(request: ApiRequest, data: JSONBody[NotificationRequested]) -> Answer[Envelope[NotificationAccepted]]:
    status, answer = await sent(data, request.auth, _gateway(request).acceptor)
    return Answer(answer, status_code=status)


@endpoint(
    "POST",
    "/notifications/batch",
    needs=SEND,
    says="Up to 1,000 at once, 16 MiB: each is accepted or refused on its own, and told so by its index",
    status=202,
    tag=_TAG,
    request_max_body_size=MOST_BYTES,
)
async def send_batch(request: ApiRequest, data: JSONBody[BatchRequested]) -> Answer[Envelope[BatchReport]]:
    report = await accept_batch(
        data.notifications,
        read_notification,
        _gateway(request).batches,
        caller_id=request.auth.caller_id,
        correlation_id=correlation.current(),
    )
    later = TooMuchWaits.code in {result.error for result in report.results}
    return Answer(Envelope(report), headers=TooMuchWaits().headers if later else None)


@endpoint(
    "POST",
    "/notifications/dry_run",
    needs=SEND,
    says="What would happen to this request, rendered output included; writes nothing",
    errors=(404, 409),
    tag=_TAG,
)
async def rehearse(request: ApiRequest, data: JSONBody[NotificationRequested]) -> Envelope[Forecast]:
    return Envelope(await dry_run(data, _gateway(request).rehearsal, caller_id=request.auth.caller_id))


@endpoint(
    "GET",
    ["/notifications/{notification_id:uuid}", "/notifications/{notification_id:uuid}/status"],
    needs=owner_or(READ),
    says="The present status",
    errors=(404,),
    tag=_TAG,
)
async def show(request: ApiRequest, notification_id: FromPath[UUID]) -> Envelope[Notification]:
    return Envelope(await read_one(notification_id, _gateway(request).notifications, owner=owner_unless(request, READ)))


@endpoint(
    "GET",
    "/notifications/request/{request_id:path}",
    needs=owner_or(READ),
    says="The present status, by your own request_id; holders of notifications:read may name another caller",
    errors=(404,),
    tag=_TAG,
)
async def show_by_request(
    request: ApiRequest,
    request_id: FromPath[str],  # noqa: ARG001 - see below
    caller_id: FromQuery[UUID | None] = None,
) -> Envelope[Notification]:
    mine = request.auth.caller_id
    if caller_id not in {None, mine} and not request.auth.may(READ):
        raise Forbidden(f"To look into another caller's requests you need the permission {READ}.")
    # The path as the edge left it: as a parameter it would lose doubled slashes.
    named = request.scope["raw_path"].decode().removeprefix(_BY_REQUEST)
    return Envelope(await read_request(named, _gateway(request).notifications, caller_id=caller_id or mine))


@endpoint(
    "GET",
    "/notifications/{notification_id:uuid}/timeline",
    needs=owner_or(READ),
    says="Every step with its reason, in order",
    errors=(404,),
    tag=_TAG,
)
async def show_timeline(request: ApiRequest, notification_id: FromPath[UUID]) -> Envelope[Timeline]:
    return Envelope(
        await read_timeline(notification_id, _gateway(request).notifications, owner=owner_unless(request, READ))
    )


@endpoint(
    "GET",
    "/notifications/{notification_id:uuid}/explain",
    needs=owner_or(READ),
    says="Why it did or did not reach the user, in order, for people and as data",
    errors=(404,),
    tag=_TAG,
)
async def show_explanation(request: ApiRequest, notification_id: FromPath[UUID]) -> Envelope[Explanation]:
    return Envelope(await explain(notification_id, _gateway(request).notifications, owner=owner_unless(request, READ)))


@endpoint(
    "GET",
    "/notifications",
    needs=owner_or(READ),
    says="The newest first; created_from is included, created_to is not",
    tag=_TAG,
)
async def show_all(
    request: ApiRequest,
    page: Page = 1,
    limit: PageSize = 20,
    user_id: FromQuery[UUID | None] = None,
    status: FromQuery[Status | None] = None,
    notification_type: FromQuery[Channel | None] = None,
    template_code: Annotated[str | None, QueryParameter(pattern=r"^[a-z0-9_.\-]{1,100}(?!\n)$")] = None,
    created_from: Moment = None,
    created_to: Moment = None,
    broadcast_id: FromQuery[UUID | None] = None,
) -> Envelope[Sequence[Notification]]:
    wanted = Wanted(
        caller_id=owner_unless(request, READ),
        broadcast_id=broadcast_id,
        user_id=user_id,
        status=status,
        channel=notification_type,
        template_code=template_code,
        created_from=moment("created_from", created_from),
        created_to=moment("created_to", created_to),
    )
    found, total = await read_page(wanted, _gateway(request).notifications, limit=limit, page=page)
    return page_of(found, total=total, limit=limit, page=page)


@endpoint(
    "POST",
    "/notifications/{notification_id:uuid}/cancel",
    needs=SEND,
    says="Take back what you sent and no relay has had yet, or anybody's with notifications:*: 200 also when repeated, "
    "409 already_queued or already_ended",
    errors=(404, 409),
    tag=_TAG,
)
async def take_back(request: ApiRequest, notification_id: FromPath[UUID]) -> Envelope[NotificationAccepted]:
    gateway = _gateway(request)
    found = await cancel(
        notification_id,
        gateway.cancellations,
        gateway.notifications,
        owner=owner_unless(request, EVERYTHING),
        by=request.auth.caller_id,
        now=datetime.now(UTC),
    )
    return Envelope(NotificationAccepted(notification_id, found.request_id, found.status, found.stage), "cancelled")


def _call_back(channel: Channel) -> HTTPRouteHandler:
    @endpoint(
        "POST",
        f"/{channel}/status",
        needs=REPORT,
        says=f"A provider's word on what became of a notification by {channel}; for service tokens",
        errors=(404,),
        tag="call-backs",
    )
    async def hear(request: ApiRequest, data: JSONBody[StatusReported]) -> Envelope[NotificationAccepted]:
        if request.auth.kind != "service":
            raise Forbidden("Status call-backs take service tokens only.")
        gateway = _gateway(request)
        known = await record_word(
            data, channel, notifications=gateway.notifications, reports=gateway.reports, now=datetime.now(UTC)
        )
        found = known.notification
        return Envelope(NotificationAccepted(found.notification_id, found.request_id, found.status, found.stage))

    return hear


ROUTES: tuple[HTTPRouteHandler, ...] = (
    send,
    send_batch,
    rehearse,
    show,
    show_by_request,
    show_timeline,
    show_explanation,
    show_all,
    take_back,
    _call_back("email"),
    _call_back("push"),
    *BROADCAST_ROUTES,
    *DEAD_LETTER_ROUTES,
    *STATS_ROUTES,
)
