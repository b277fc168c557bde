"""What is to be told to others."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much waits to be told, mails about accounts included, and for how long the oldest change has."""

    waiting: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class WaitingEvent:
    event_id: UUID
    topic: str
    body: dict[str, Any]
