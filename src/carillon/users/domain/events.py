"""What is to be told to others."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class WaitingEvent:
    event_id: UUID
    topic: str
    body: dict[str, Any]
