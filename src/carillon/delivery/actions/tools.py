"""What the actions work with: ports, policy and bounds, given once by the composition root."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from carillon.contracts.channels import Lane
from carillon.contracts.messages import DeliveryRequested
from carillon.contracts.rendering import CompiledTemplates
from carillon.contracts.schedule import over
from carillon.delivery.domain import Policy
from carillon.delivery.metrics import Endings
from carillon.delivery.pool import Pool
from carillon.delivery.ports import Channel, Contacts, Deliveries, Reports, Templates


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: how long a claim stands, and how much of it waiting for a slot plus sending may take."""

    lease: float = 60.0
    send: float = 30.0
    ladder: tuple[float, ...] = ()

    @property
    def slot(self) -> float:
        """Two thirds of the deadline may pass waiting for a slot, so that a send that begins has time to end."""
        return self.send * 2 / 3


@dataclass(frozen=True, slots=True)
class Tools:
    channel: Channel
    contacts: Contacts
    templates: Templates
    deliveries: Deliveries
    reports: Reports
    pool: Pool
    endings: Endings
    policy: Policy = field(default_factory=Policy)
    limits: Limits = field(default_factory=Limits)
    compiled: CompiledTemplates = field(default_factory=CompiledTemplates)
    chance: Callable[[], float] = random.random
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True)
class Work:
    """One message in hand. `seen_before` is the broker's hint at how often it was handed out, `last_reason` why it was
    put off the last time, `crashes` how often it has crashed its worker, `first_error` what its first failed attempt
    met, `traceparent` the trace that its message was handed over in."""

    request: DeliveryRequested
    lane: Lane
    seen_before: int
    last_reason: str | None = None
    crashes: int = 0
    first_error: str | None = None
    traceparent: str | None = None

    def age(self, now: datetime) -> float:
        """Seconds since it was to be sent."""
        return max(0.0, (now - self.request.due_at).total_seconds())

    def expired(self, now: datetime) -> bool:
        """Whether it is too late to send it."""
        return over(self.request.expires_at, now)
