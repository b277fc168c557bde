"""What travels through the broker: a request to deliver, and reports of what became of it. JSON, snake_case."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from carillon.contracts.channels import Channel
from carillon.contracts.statuses import Stage, Status

CORRELATION_HEADER = "x-correlation-id"


class DeliveryRequested(msgspec.Struct, frozen=True, kw_only=True):
    """One notification on its way to a channel worker. `generation` rises with every re-queue.

    `send_at`: it was not to be sent before; its age counts from then. It is not sent from `expires_at` on.
    `traceparent` is W3C's, where the request that asked for it is traced.
    """

    notification_id: UUID
    generation: int
    channel: Channel
    user_id: UUID
    template_code: str
    variables: dict[str, Any]
    priority: int
    category: str | None = None
    metadata: dict[str, Any] | None = None
    accepted_at: datetime
    correlation_id: str
    send_at: datetime | None = None
    expires_at: datetime | None = None
    traceparent: str | msgspec.UnsetType = msgspec.UNSET

    @property
    def due_at(self) -> datetime:
        """Since when it is to be sent; what is queued anew counts as accepted anew."""
        return self.accepted_at if self.send_at is None else max(self.send_at, self.accepted_at)


StepKind = Literal[
    "accepted", "scheduled", "queued", "looked_up", "rendered", "suppressed", "attempted", "attempt_failed", "waiting",
    "delivered", "failed", "bounced", "cancelled", "expired", "reported",
    "replayed", "requeued",
]  # fmt: skip


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a timeline. `key` is unique within its notification, so that a repeated report adds nothing:
    `<generation>.<attempt>.<kind>`."""

    key: str
    kind: StepKind
    at: datetime
    reason: str | None = None
    attempt: int | None = None
    provider: str | None = None
    detail: dict[str, Any] | None = None


class DeliveryReported(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker found. Applied in any order, any number of times; `rank` as in `contracts.statuses`.

    `correlation_id` is the request's; workers of former releases do not tell it.
    """

    notification_id: UUID
    generation: int
    rank: int
    status: Status
    stage: Stage | None = None
    reason: str | None = None
    error: str | None = None
    attempts: int = 0
    next_expected_at: datetime | None = None
    steps: list[Step] = []
    correlation_id: str | None = None
    traceparent: str | msgspec.UnsetType = msgspec.UNSET


class DeliveriesReported(msgspec.Struct, frozen=True):
    """Several reports in one message of `status.queue`."""

    reports: list[DeliveryReported]
