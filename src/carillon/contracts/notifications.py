"""API shapes of the gateway: what an application posts and what it is told."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from carillon.contracts.channels import DEFAULT_PRIORITY, Channel
from carillon.contracts.messages import StepKind
from carillon.contracts.schedule import ExpiresAt, SendAt
from carillon.contracts.statuses import Stage, Status
from carillon.contracts.templates import Content, TemplateCode
from carillon.contracts.users import Decision

RequestId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f]+(?!\n)$",
        description="One line, yours; makes the request idempotent",
    ),
]
Priority = Annotated[int, Meta(ge=1, le=10, description="8 to 10 is the high lane, 1 to 3 the bulk lane")]


_USER: Final = "01a1d1a0-0000-7000-8000-000000000001"
_VARIABLES: Final = {"name": "Ada", "link": "https://example.com/orders/7"}
Variables = Annotated[
    dict[str, Any],
    Meta(
        description="`name` and an http(s) `link`, and what the template declares",
        extra_json_schema={
            "required": ["name", "link"],
            "properties": {
                "name": {"type": "string"},
                "link": {"type": "string", "format": "uri"},
                "meta": {"type": ["object", "null"]},
            },
        },
    ),
]


class NotificationRequested(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /notifications`. `variables` needs `name` and an http(s) `link`; `meta`: an object or null."""

    EXAMPLES: ClassVar[Any] = (
        {
            "notification_type": "email",
            "user_id": _USER,
            "template_code": "welcome",
            "variables": _VARIABLES,
            "request_id": "order-7-shipped",
            "priority": 5,
            "metadata": {"order": 7},
        },
        {
            "notification_type": "push",
            "user_id": _USER,
            "template_code": "welcome",
            "variables": _VARIABLES,
            "request_id": "order-7-shipped-push",
        },
        {
            "notification_type": "email",
            "user_id": _USER,
            "template_code": "welcome",
            "variables": _VARIABLES,
            "request_id": "order-7-reminder",
            "expires_at": "2130-01-31T18:00:00Z",
        },
    )

    notification_type: Channel
    user_id: UUID
    template_code: TemplateCode
    variables: Variables
    request_id: RequestId
    priority: Priority | None = None
    metadata: dict[str, Any] | None = None
    category: Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[a-z0-9][a-z0-9_.\-]*(?!\n)$")] | None = None
    send_at: SendAt | None = None
    expires_at: ExpiresAt | None = None

    @property
    def effective_priority(self) -> int:
        return DEFAULT_PRIORITY if self.priority is None else self.priority


class NotificationAccepted(msgspec.Struct, frozen=True):
    """202, or 200 for a replay with the present status."""

    notification_id: UUID
    request_id: str
    status: Status
    stage: Stage | None


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a notification now. `stage` only while pending; `reason` where it ended undelivered.

    `send_at` and `expires_at` as they were asked for, in UTC; a `send_at` that was over by then is none.
    """

    notification_id: UUID
    request_id: str
    notification_type: Channel
    user_id: UUID
    template_code: str
    priority: int
    category: str | None
    status: Status
    stage: Stage | None
    attempts: int
    reason: str | None
    error: str | None
    metadata: dict[str, Any] | None
    correlation_id: str
    created_at: datetime
    updated_at: datetime
    send_at: datetime | None = None
    expires_at: datetime | None = None


class TimelineStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step with its reason."""

    kind: StepKind
    at: datetime
    reason: str | None = None
    attempt: int | None = None
    provider: str | None = None
    detail: dict[str, Any] | None = None


class Timeline(msgspec.Struct, frozen=True):
    notification_id: UUID
    status: Status
    stage: Stage | None
    steps: list[TimelineStep]


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """One reason in the order it came about: a sentence for people, the rest as data."""

    kind: StepKind
    at: datetime
    sentence: str
    detail: dict[str, Any] = {}


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a notification did or did not reach its user; `summary` is the answer in one sentence."""

    notification_id: UUID
    status: Status
    stage: Stage | None
    summary: str
    reasons: list[Reason]


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What would happen to a request if it were sent now; `rendered` only where every variable is there.

    `waits_until`: its `send_at`, or the end of the user's quiet hours where that is later.
    """

    outcome: Literal["sent", "suppressed", "failed", "expired", "replayed"]
    reason: str | None
    queue: str
    decision: Decision | None
    template_version: int | None
    language: str | None
    missing_variables: list[str]
    rendered: Content | None
    waits_until: datetime | None = None


class StatusReported(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /{email|push}/status`: a provider's word on a notification."""

    EXAMPLES: ClassVar[Any] = (
        {"notification_id": _USER, "status": "delivered", "timestamp": "2030-01-31T12:00:00Z"},
        {"notification_id": _USER, "status": "failed", "error": "550 no such mailbox"},
    )

    notification_id: str
    status: Literal["delivered", "pending", "failed"]
    timestamp: Annotated[datetime, Meta(extra_json_schema={"format": "date-time"})] | None = None
    error: Annotated[str, Meta(max_length=2000, pattern=r"^[^\x00]*$")] | None = None
