"""API shapes of broadcasts: one template to many people, and how far it has come."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from carillon.contracts.audiences import AudienceFilter
from carillon.contracts.channels import Channel
from carillon.contracts.notifications import Priority, RequestId, Variables
from carillon.contracts.schedule import ExpiresAt
from carillon.contracts.templates import TemplateCode

BroadcastStatus = Literal["running", "paused", "cancelling", "cancelled", "finished"]
MOST_IDS: Final = 10_000
"""Ids in one request."""
BULK_PRIORITY: Final = 2

_USER: Final = "01a1d1a0-0000-7000-8000-000000000001"
_BODY: Final[Any] = {
    "notification_type": "email",
    "template_code": "welcome",
    "variables": {"name": "Friend", "link": "https://example.com/news"},
    "request_id": "newsletter-2030-01",
}
UserIds = Annotated[list[UUID], Meta(min_length=1, max_length=MOST_IDS)]


class Audience(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Either a filter over people or ids; neither: ids that follow by `POST /broadcasts/{id}/recipients`."""

    filter: AudienceFilter | None = None
    user_ids: UserIds | None = None


class BroadcastRequested(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /broadcasts`. Without a priority it goes by the bulk lane. `start` false: paused until resumed."""

    EXAMPLES: ClassVar[Any] = (
        {**_BODY, "audience": {"filter": {"attributes": {"plan": "free"}}}},
        {**_BODY, "audience": {"user_ids": [_USER]}, "start": False, "priority": 5, "category": "news"},
    )

    notification_type: Channel
    template_code: TemplateCode
    variables: Variables
    request_id: RequestId
    audience: Audience
    priority: Priority | None = None
    metadata: dict[str, Any] | None = None
    category: Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[a-z0-9][a-z0-9_.\-]*(?!\n)$")] | None = None
    expires_at: ExpiresAt | None = None
    start: bool = True


class AudienceAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /broadcasts/preview`."""

    EXAMPLES: ClassVar[Any] = ({"audience": {"filter": {"attributes": {"plan": "free"}}}},)

    audience: Audience


class AudienceCount(msgspec.Struct, frozen=True):
    """How many people an audience has now; of ids, how many different ones."""

    total: int


class RecipientsGiven(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /broadcasts/{id}/recipients`: ids given before do no harm."""

    EXAMPLES: ClassVar[Any] = ({"user_ids": [_USER]},)

    user_ids: UserIds


class Broadcast(msgspec.Struct, frozen=True, kw_only=True):
    """A broadcast and its progress. `total`: people when it was counted, null where nobody could count them; in the end
    how many there were. `enqueued` of them have a notification, of which `pending` have not ended. `reason`: why it is
    paused."""

    broadcast_id: UUID
    request_id: str
    notification_type: Channel
    template_code: str
    category: str | None
    priority: int
    filter: AudienceFilter | None
    status: BroadcastStatus
    reason: str | None
    total: int | None
    enqueued: int
    pending: int
    delivered: int
    failed: int
    suppressed: int
    cancelled: int
    expired: int
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
