"""People as the operator sees them: listed, suspended, exported, erased; and who did what."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar
from uuid import UUID

import msgspec
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import Meta

from carillon.contracts.people import Status, User
from carillon.kit.errors import invalid
from carillon.kit.http.access import ApiRequest, self_or
from carillon.kit.http.answer import Answer
from carillon.kit.http.conditions import IfMatch, etag, expected_versions
from carillon.kit.http.envelope import Envelope
from carillon.kit.http.moments import Moment, moment
from carillon.kit.http.paging import Cursor, PageNumber, PageSize, list_name, page_answer, wanted
from carillon.kit.http.routing import endpoint
from carillon.users.actions import administering
from carillon.users.domain.audit import AuditEvent, AuditSearch
from carillon.users.domain.people import ONE_LINE, Search, email_key
from carillon.users.errors import UnknownUser
from carillon.users.routes.resources import READ, TAG, actor, resources

SUSPEND = "users:suspend"
ERASE = "users:erase"
AUDIT = "audit:read"
_LITERAL = QueryParameter(max_length=320, pattern=r"^[^\x00]*$", description="Part of it, in any case")
_NAME = QueryParameter(max_length=100, pattern=r"^[^\x00]*$")
_USER = "/users/{user_id:uuid}"


class Suspension(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /users/{id}/suspend`; the reason is kept in the audit trail until the user is erased."""

    EXAMPLES: ClassVar[Any] = ({"reason": "The account was taken over"},)

    reason: Annotated[str, Meta(min_length=1, max_length=500, pattern=ONE_LINE, description="One line")]


@endpoint("GET", "/users", needs=READ, says="Users, the newest first", tag=TAG)
async def list_users(
    request: ApiRequest,
    page: PageNumber = None,
    limit: PageSize = 20,
    cursor: Cursor = None,
    email: Annotated[str | None, _LITERAL] = None,
    name: Annotated[str | None, _LITERAL] = None,
    status: FromQuery[Status | None] = None,
    role: Annotated[str | None, _NAME] = None,
) -> Answer[Envelope[Sequence[User]]]:
    search = Search(status=status, email=None if email is None else email_key(email), name=name, role=role)
    asked = wanted(list_name("users", search), page=page, limit=limit, cursor=cursor)
    found, total = await resources(request).stores.lists.people(search, asked)
    return page_answer(request, found, asked=asked, total=total, key=lambda user: user.user_id)


@endpoint("GET", "/audit_events", needs=AUDIT, says="Who did what to whom, the newest first", tag=TAG)
async def list_audit_events(
    request: ApiRequest,
    page: PageNumber = None,
    limit: PageSize = 20,
    cursor: Cursor = None,
    subject_id: FromQuery[UUID | None] = None,
    actor_id: FromQuery[UUID | None] = None,
    action: Annotated[str | None, _NAME] = None,
    since: Moment = None,
    until: Moment = None,
) -> Answer[Envelope[Sequence[AuditEvent]]]:
    search = AuditSearch(subject_id, actor_id, action, _in_utc("since", since), _in_utc("until", until))
    asked = wanted(list_name("audit_events", search), page=page, limit=limit, cursor=cursor)
    found, total = await resources(request).stores.lists.audit_events(search, asked)
    return page_answer(request, found, asked=asked, total=total, key=lambda event: event.event_id)


@endpoint(
    "POST", f"{_USER}/suspend", needs=SUSPEND, says="Suspend a user", errors=(404, 409, 412), tag=TAG, strict=True
)
async def suspend_user(
    request: ApiRequest, user_id: FromPath[UUID], data: JSONBody[Suspension], if_match: IfMatch = None
) -> Answer[Envelope[User]]:
    here = resources(request)
    user = await administering.suspend(
        user_id,
        data.reason.strip(),
        expected=expected_versions(if_match),
        by=actor(request),
        registry=here.stores.administration,
        changed=here.changes.revoked,
    )
    return Answer(Envelope(user, "suspended"), headers=etag(user.version))


@endpoint(
    "POST", f"{_USER}/restore", needs=SUSPEND, says="Restore a suspended user", errors=(404, 412), tag=TAG, strict=True
)
async def restore_user(
    request: ApiRequest, user_id: FromPath[UUID], if_match: IfMatch = None
) -> Answer[Envelope[User]]:
    here = resources(request)
    user = await administering.restore(
        user_id,
        expected=expected_versions(if_match),
        by=actor(request),
        registry=here.stores.administration,
        changed=here.changes.revoked,
    )
    return Answer(Envelope(user, "restored"), headers=etag(user.version))


@endpoint(
    "DELETE", _USER, needs=self_or(ERASE), says="Erase a user for good", errors=(404, 409, 412), tag=TAG, strict=True
)
async def erase_user(request: ApiRequest, user_id: FromPath[UUID], if_match: IfMatch = None) -> Envelope[None]:
    here = resources(request)
    administering.check_person(user_id, request.auth, permission=ERASE)
    await administering.erase(
        user_id,
        expected=expected_versions(if_match),
        by=actor(request),
        registry=here.stores.administration,
        changed=here.changes.revoked,
    )
    return Envelope(None, "erased")


@endpoint(
    "GET",
    f"{_USER}/export",
    needs=self_or(READ),
    says="Everything held on a user",
    errors=(404,),
    tag=TAG,
    strict=True,
)
async def export_user(request: ApiRequest, user_id: FromPath[UUID]) -> Answer[Envelope[dict[str, Any]]]:
    administering.check_person(user_id, request.auth, permission=READ)
    held = await resources(request).stores.exports.export(user_id, actor_id=request.auth.caller_id)
    if held is None:
        raise UnknownUser
    headers = {"Content-Disposition": f'attachment; filename="user-{user_id}.json"', "Cache-Control": "no-store"}
    return Answer(Envelope(held), headers=headers)


def _in_utc(field: str, text: str | None) -> datetime | None:
    try:
        return None if (at := moment(field, text)) is None else at.astimezone(UTC)
    except OverflowError:
        raise invalid(field, "There is no such time in UTC.") from None


HANDLERS = [list_users, list_audit_events, suspend_user, restore_user, erase_user, export_user]
