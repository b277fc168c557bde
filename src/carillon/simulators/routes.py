"""HTTP of the mailbox: JSON in the envelope for programs, pages for people."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import MediaType, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter

from carillon.kit.errors import Forbidden, NotFound
from carillon.kit.http.access import ANYONE, ApiRequest
from carillon.kit.http.envelope import Envelope, page_of
from carillon.kit.http.paging import Page, PageSize
from carillon.kit.http.routing import endpoint
from carillon.simulators.actions import Captured, KeptMail, KeptPush
from carillon.simulators.domain.mail import read_mail
from carillon.simulators.loopback import is_asked_from_here
from carillon.simulators.page import HEADERS, PER_PAGE, list_page, mail_page

_TAG = "mailbox"
_NO_NUL = r"\A[^\x00]*\Z"

Recipient = Annotated[str | None, QueryParameter(pattern=_NO_NUL, max_length=1_000, description="Exact, in any case")]
DeviceToken = Annotated[str | None, QueryParameter(pattern=_NO_NUL, max_length=4_096, description="Exact")]


class CapturedMail(msgspec.Struct, frozen=True, kw_only=True):
    """`from` and `to` are the envelope's; `headers` are the mail's own, a repeated one's values on several lines."""

    id: UUID
    to: list[str]
    from_: str = msgspec.field(name="from")
    subject: str
    text: str | None
    html: str | None
    headers: dict[str, str]
    size: int
    received_at: datetime


class CapturedPush(msgspec.Struct, frozen=True, kw_only=True):
    """A message that the push simulator took; `message` is all of it."""

    id: UUID
    name: str
    token: str | None
    notification: dict[str, Any] | None
    data: dict[str, Any] | None
    message: dict[str, Any]
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Room:
    """What the routes work with."""

    store: Captured
    open_to_all: bool = False


def _store(request: ApiRequest) -> Captured:
    """The captured messages, for this machine only: the mailbox asks for no token."""
    room: Room = request.app.state.room
    if not (room.open_to_all or is_asked_from_here(request)):
        raise Forbidden("The mailbox is shown on this machine only; CARILLON_SIMULATORS_MAILBOX_OPEN=true opens it.")
    return room.store


@endpoint(
    "GET",
    "/mailbox/messages",
    needs=ANYONE,
    says="List captured mail, newest first",
    errors=(403, 503),
    tag=_TAG,
    prefix="",
)
async def list_mails(
    request: ApiRequest, to: Recipient = None, page: Page = 1, limit: PageSize = 20
) -> Envelope[list[CapturedMail]]:
    found, total = await _store(request).mails(to, limit=limit, offset=(page - 1) * limit)
    return page_of([_mail(kept) for kept in found], total=total, limit=limit, page=page)  # type: ignore[return-value]


@endpoint(
    "DELETE", "/mailbox/messages", needs=ANYONE, says="Forget all captured mail", errors=(403, 503), tag=_TAG, prefix=""
)
async def empty(request: ApiRequest) -> Envelope[dict[str, int]]:
    return Envelope({"deleted": await _store(request).empty_mails()}, "the mailbox is empty")


@endpoint(
    "GET",
    "/mailbox/pushes",
    needs=ANYONE,
    says="List captured pushes, newest first",
    errors=(403, 503),
    tag=_TAG,
    prefix="",
)
async def list_pushes(
    request: ApiRequest, token: DeviceToken = None, page: Page = 1, limit: PageSize = 20
) -> Envelope[list[CapturedPush]]:
    found, total = await _store(request).pushes(token, limit=limit, offset=(page - 1) * limit)
    return page_of([_push(kept) for kept in found], total=total, limit=limit, page=page)  # type: ignore[return-value]


@get("/mailbox", opt={"needs": ANYONE}, include_in_schema=False)
async def mailbox(request: ApiRequest, page: Page = 1) -> Response[str]:
    found, total = await _store(request).mails(None, limit=PER_PAGE, offset=(page - 1) * PER_PAGE)
    return _html(list_page(found, total=total, page=page))


@get("/mailbox/mails/{mail_id:uuid}", opt={"needs": ANYONE}, include_in_schema=False)
async def show(request: ApiRequest, mail_id: FromPath[UUID]) -> Response[str]:
    kept = await _store(request).mail(mail_id)
    if kept is None:
        raise NotFound("This mail is not kept any more.")
    return _html(mail_page(kept))


def _html(text: str) -> Response[str]:
    return Response(text, headers=HEADERS, media_type=MediaType.HTML)


def _mail(kept: KeptMail) -> CapturedMail:
    content = read_mail(kept.mail.raw)
    return CapturedMail(
        id=kept.mail_id,
        to=kept.mail.recipients,
        from_=kept.mail.sender,
        subject=content.subject,
        text=content.text,
        html=content.html,
        headers=content.headers,
        size=len(kept.mail.raw),
        received_at=kept.received_at,
    )


def _push(kept: KeptPush) -> CapturedPush:
    push = kept.push
    return CapturedPush(
        id=push.push_id,
        name=push.name,
        token=push.token,
        notification=push.message.get("notification"),
        data=push.message.get("data"),
        message=push.message,
        received_at=kept.received_at,
    )


ROUTES: list[HTTPRouteHandler] = [list_mails, empty, list_pushes, mailbox, show]
