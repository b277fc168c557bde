"""What was done, by whom, to whom."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One act that matters for security. `subject_id` is the user, role or application that it was done to."""

    event_id: UUID
    at: datetime
    actor_id: UUID | None
    action: str
    subject_id: UUID | None
    detail: dict[str, Any]
    correlation_id: str


@dataclass(frozen=True, slots=True)
class AuditSearch:
    """Filters, all of which must hold. `since` is included, `until` is not."""

    subject_id: UUID | None = None
    actor_id: UUID | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None
