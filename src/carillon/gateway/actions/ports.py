"""What the actions need of the world."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from carillon.contracts.channels import Channel
from carillon.contracts.messages import DeliveryReported, Step
from carillon.contracts.notifications import Notification
from carillon.contracts.templates import PublishedTemplate
from carillon.contracts.users import Contact
from carillon.gateway.domain import Acceptance, Due, Known, Month, Standing, Wanted
from carillon.gateway.errors import RequestIdSpent
from carillon.gateway.turns import Turn
from carillon.gateway.watching import Wait
from carillon.kit.broker.port import Message


class Contacts(Protocol):
    def remembered(self, user_id: UUID, channel: Channel, category: str | None) -> Contact | None:
        """What was told a moment ago; None: ask."""
        ...

    async def contact(self, user_id: UUID, channel: Channel, category: str | None) -> Contact | None:
        """None: the users service knows nobody of that id. Raises ServiceUnavailable when nobody can tell."""
        ...


class Templates(Protocol):
    def remembered(self, code: str, channel: Channel, language: str | None) -> PublishedTemplate | None:
        """What was told a moment ago; None: ask."""
        ...

    async def published(self, code: str, channel: Channel, language: str | None) -> PublishedTemplate | None:
        """None: nothing is published; `language` None: the default one. ServiceUnavailable: nobody can tell."""
        ...


class HandIn(Protocol):
    async def __call__(self, item: Acceptance) -> Standing:
        """Commit, together with whatever else is waiting."""
        ...


class CommitBatch(Protocol):
    async def __call__(self, item: Sequence[Acceptance]) -> Sequence[Standing | Exception]:
        """Commit these and no others, one outcome for each in order. Raises Unavailable."""
        ...


class AcceptanceStore(Protocol):
    async def accept(self, batch: Sequence[Acceptance]) -> Sequence[Standing | RequestIdSpent]:
        """All in one commit. Raises RowsRefused (bad data, nothing written) and Unavailable."""
        ...

    async def find(self, caller_id: UUID, request_id: str) -> Standing | None: ...

    async def find_all(self, caller_id: UUID, request_ids: Sequence[str]) -> Mapping[str, Standing]:
        """In one trip; without those that there are not."""
        ...


class OutboxStore(Protocol):
    async def claim(self, size: int, *, lease_seconds: float) -> Sequence[Due]:
        """What has waited longest, whosever it is."""
        ...

    async def take_turns(self, turns: Sequence[Turn], size: int, *, lease_seconds: float) -> Sequence[Due]:
        """Of the lanes that were asked for the first first, and in each by turns of the callers."""
        ...

    async def settle(self, sent: Sequence[Due], at: datetime) -> None: ...

    async def give_back(self, unsent: Sequence[Due], *, rest_seconds: float, maybe_sent: bool) -> None: ...


class Publisher(Protocol):
    async def publish(self, messages: Sequence[Message]) -> None:
        """Raises BrokerUnavailable (none handed over) or PublishFailed (some not settled)."""
        ...


class ReportStore(Protocol):
    async def record(self, reports: Sequence[DeliveryReported], steps: Sequence[tuple[UUID, Step]]) -> set[UUID]:
        """At most one report per notification; answers the ids that exist. Raises RowsRefused for bad data."""
        ...

    async def expect(self, waits: Sequence[Wait]) -> None:
        """However they rank: news of those that have not ended is not to be expected before."""
        ...


class NotificationStore(Protocol):
    async def one(self, notification_id: UUID, *, owner: UUID | None) -> Known | None: ...

    async def of_request(self, caller_id: UUID, request_id: str) -> Known | None: ...

    async def steps(self, notification_id: UUID) -> Sequence[Step]: ...

    async def page(self, wanted: Wanted, *, limit: int, offset: int) -> tuple[Sequence[Notification], int]: ...


class PartitionStore(Protocol):
    async def ensure(self, months: Sequence[Month]) -> Sequence[str]:
        """Make those that are missing; answers their names."""
        ...
