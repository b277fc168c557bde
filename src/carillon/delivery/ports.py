"""What the pipeline needs from outside: a channel and its providers, claims, reports, and the two look-ups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from carillon.contracts import channels
from carillon.contracts.messages import DeliveryReported, DeliveryRequested
from carillon.contracts.templates import Content, PublishedTemplate
from carillon.contracts.users import Contact
from carillon.delivery.domain import AlreadySent, ClaimFound, ProviderAnswer, Refused, SettledState
from carillon.kit.cache import Found


@dataclass(frozen=True, slots=True)
class Terms:
    """What a provider may be given: its share by `weight` (0: only while the others are away), `rate` messages a second
    (0: any number), and `connections` at once (0: as many as the worker sends)."""

    weight: int = 1
    rate: float = 0.0
    connections: int = 0


class Provider(Protocol):
    """One way out. It knows nothing of retries and counts nothing."""

    @property
    def name(self) -> str: ...

    @property
    def terms(self) -> Terms: ...

    async def send(self, item: Any) -> ProviderAnswer:
        """Hand over what the channel composed; the caller bounds the time and treats what is raised as transient."""
        ...


class Channel(Protocol):
    """What a channel adds: composing, and its providers."""

    @property
    def name(self) -> channels.Channel: ...

    @property
    def providers(self) -> Sequence[Provider]: ...

    def compose(
        self, request: DeliveryRequested, contact: Contact, template: PublishedTemplate, content: Content
    ) -> Any | Refused:
        """`content` is `template`'s, rendered. The result goes to a provider as it is."""
        ...


DeliveryKey = tuple[UUID, int]
"""A notification and its generation."""


@dataclass(frozen=True, slots=True)
class ClaimWanted:
    notification_id: UUID
    generation: int
    at_most_once: bool


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of a claim; `uncounted` gives the attempt back because nothing was tried."""

    notification_id: UUID
    generation: int
    claim: int
    state: SettledState
    provider: str | None = None
    provider_message_id: str | None = None
    reason: str | None = None
    error: str | None = None
    uncounted: bool = False


class Deliveries(Protocol):
    """Claims and outcomes, durable. All raise `Unavailable` while the store is away."""

    async def claim(self, wanted: Sequence[ClaimWanted]) -> Sequence[ClaimFound]:
        """One answer per wish, in order, committed."""
        ...

    async def sent(self, keys: Sequence[DeliveryKey]) -> Mapping[DeliveryKey, AlreadySent]:
        """Those of them that have gone out."""
        ...

    async def settle(self, settlement: Settlement) -> bool:
        """False when another claim came in between: nothing was written."""
        ...


class Reports(Protocol):
    async def __call__(self, report: DeliveryReported, /) -> None:
        """Return once the report is durable. Raises BrokerError."""
        ...


class Contacts(Protocol):
    async def look_up(
        self, user_id: UUID, channel: channels.Channel, category: str | None
    ) -> Found[Contact | None]: ...


class Templates(Protocol):
    async def look_up(
        self, code: str, channel: channels.Channel, language: str | None
    ) -> Found[PublishedTemplate | None]: ...
