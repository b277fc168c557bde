"""A small world for the pipeline: people, templates, a claims table and a provider, all with state, no server."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from carillon.contracts.messages import DeliveryReported, DeliveryRequested
from carillon.contracts.templates import Content, PublishedTemplate
from carillon.contracts.users import Contact, Decision
from carillon.delivery.actions.tools import Limits, Tools, Work
from carillon.delivery.domain import (
    Accepted,
    AlreadyFailed,
    AlreadySent,
    ClaimFound,
    Granted,
    HeldElsewhere,
    Policy,
    ProviderAnswer,
    Refused,
)
from carillon.delivery.metrics import Endings
from carillon.delivery.pool import Pool
from carillon.delivery.ports import ClaimWanted, DeliveryKey, Settlement, Terms
from carillon.delivery.providers import Route
from carillon.kit.breaker import Breaker
from carillon.kit.broker.port import BrokerUnavailable
from carillon.kit.cache import Found
from carillon.kit.errors import Unavailable
from carillon.kit.http.client import ServiceUnavailable
from carillon.kit.ids import uuid7

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
LADDER = (5.0, 30.0, 120.0)


@dataclass
class Row:
    """A line of the claims table."""

    state: str = "claimed"
    claim: int = 1
    attempt: int = 1
    lapses: int = 0
    lease_until: float = 0.0
    settlement: Settlement | None = None
    settled_at: datetime = START


@dataclass
class FakeDeliveries:
    """Claims and outcomes in memory, with the store's own rules."""

    world: "World"
    rows: dict[tuple[UUID, int], Row] = field(default_factory=dict)
    claims: list[int] = field(default_factory=list)
    away: bool = False
    settles_refused: int = 0

    async def claim(self, wanted: Sequence[ClaimWanted]) -> Sequence[ClaimFound]:
        if self.away:
            raise Unavailable("the store is away")
        self.claims.append(len(wanted))
        self.world.happened("claimed")
        return [self._claim(wish) for wish in wanted]

    def _claim(self, wish: ClaimWanted) -> ClaimFound:
        key = (wish.notification_id, wish.generation)
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = Row(lease_until=self.world.time + 60)
            return Granted(1, 1)
        if (held := self._held(row)) is not None:
            return held
        lapsed = row.state == "claimed"
        if lapsed and wish.at_most_once:
            row.state = "failed"
            return AlreadyFailed(row.attempt, None, "outcome_unknown", None)
        row.state, row.claim, row.attempt = "claimed", row.claim + 1, row.attempt + 1
        row.lapses, row.lease_until = row.lapses + lapsed, self.world.time + 60
        return Granted(row.attempt, row.claim, row.lapses)

    def _held(self, row: Row) -> ClaimFound | None:
        told = row.settlement
        if row.state == "sent":
            assert told is not None
            return AlreadySent(row.attempt, told.provider, told.provider_message_id, row.settled_at)
        if row.state == "failed":
            if told is None:
                return AlreadyFailed(row.attempt, None, "outcome_unknown", None)
            return AlreadyFailed(row.attempt, told.provider, told.reason or "", told.error)
        if row.state == "claimed" and row.lease_until > self.world.time:
            return HeldElsewhere(row.lease_until - self.world.time)
        return None

    async def sent(self, keys: Sequence[DeliveryKey]) -> Mapping[DeliveryKey, AlreadySent]:
        if self.away:
            raise Unavailable("the store is away")
        held = {key: self._held(self.rows[key]) for key in keys if key in self.rows}
        return {key: found for key, found in held.items() if isinstance(found, AlreadySent)}

    async def settle(self, settlement: Settlement) -> bool:
        if self.settles_refused:
            self.settles_refused -= 1
            raise Unavailable("the store is away")
        row = self.rows[settlement.notification_id, settlement.generation]
        if row.claim != settlement.claim or row.state != "claimed":
            return False
        row.state, row.settlement, row.settled_at = settlement.state, settlement, self.world.now()
        row.attempt -= settlement.uncounted
        self.world.happened(settlement.state)
        return True


@dataclass
class FakeProvider:
    """Answers from a script, then accepts everything."""

    world: "World"
    name: str = "fake"
    terms: Terms = field(default_factory=Terms)
    script: list[ProviderAnswer | Exception | Callable[[], Any]] = field(default_factory=list)
    always: ProviderAnswer | None = None
    sent: list[Any] = field(default_factory=list)

    async def send(self, item: Any) -> ProviderAnswer:
        self.sent.append(item)
        self.world.happened("sent_out")
        answer: Any = self.script.pop(0) if self.script else self.always or Accepted(f"id-{len(self.sent)}")
        if callable(answer):
            answer = await answer()
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, ProviderAnswer)
        return answer


@dataclass
class FakeChannel:
    """Says the subject to the address; a subject of `crash` breaks it."""

    providers: list[FakeProvider]
    name: Literal["email"] = "email"

    def compose(
        self, request: DeliveryRequested, contact: Contact, template: PublishedTemplate, content: Content
    ) -> Any | Refused:
        if content.subject == "crash":
            raise KeyError("a mistake of ours")
        return (contact.email, content.subject) if contact.email else Refused("no_address", "no e-mail address")


@dataclass
class FakeContacts:
    people: dict[UUID, Contact] = field(default_factory=dict)
    away: bool = False
    asked: list[tuple[UUID, str, str | None]] = field(default_factory=list)

    async def look_up(self, user_id: UUID, channel: str, category: str | None) -> Found[Contact | None]:
        self.asked.append((user_id, channel, category))
        if self.away:
            raise ServiceUnavailable("users: 503", retry_after=7)
        return Found(self.people.get(user_id), "cached")


@dataclass
class FakeTemplates:
    """Published versions by (code, language); a language that is not there falls back to None, the default."""

    published: dict[tuple[str, str | None], PublishedTemplate] = field(default_factory=dict)
    away: bool = False

    async def look_up(self, code: str, channel: str, language: str | None) -> Found[PublishedTemplate | None]:
        if self.away:
            raise ServiceUnavailable("templates: 503")
        return Found(self.published.get((code, language)) or self.published.get((code, None)), "cached")

    def publish(self, code: str = "welcome", *, language: str | None = None, **given: Any) -> None:
        content = given.pop("content", Content(subject="Hello {{ name }}", body_text="Hi"))
        fields = {"category": None, "at_most_once": False, "version": 3, **given}
        self.published[code, language] = PublishedTemplate(
            code=code, channel="email", language=language or "en", content=content, **fields
        )


@dataclass
class FakeReports:
    world: "World"
    told: list[DeliveryReported] = field(default_factory=list)
    away: bool = False

    async def __call__(self, report: DeliveryReported, /) -> None:
        if self.away:
            raise BrokerUnavailable("no broker")
        self.told.append(report)
        self.world.happened(f"told_{report.status}")


class World:
    """Everything around the pipeline. `time` is moved by the test; `journal` tells what happened in which order."""

    def __init__(self) -> None:
        self.time = 0.0
        self.journal: list[str] = []
        self.contacts, self.templates = FakeContacts(), FakeTemplates()
        self.templates.publish()
        self.deliveries, self.reports, self.provider = FakeDeliveries(self), FakeReports(self), FakeProvider(self)
        self.providers = [self.provider]
        self.policy = Policy(max_attempts=4)
        self.slots = 10
        self.limits = Limits(lease=60, send=30, ladder=LADDER)
        self._tools: Tools | None = None

    @property
    def tools(self) -> Tools:
        """Built at first use, so that a test may set up the world before."""
        if self._tools is None:
            self._tools = Tools(
                channel=FakeChannel(self.providers),
                contacts=self.contacts,
                templates=self.templates,
                deliveries=self.deliveries,
                reports=self.reports,
                pool=self._pool(),
                endings=Endings("email"),
                policy=self.policy,
                limits=self.limits,
                chance=lambda: 0.5,
                now=self.now,
                clock=lambda: self.time,
            )
        return self._tools

    def now(self) -> datetime:
        return START + timedelta(seconds=self.time)

    def happened(self, what: str) -> None:
        self.journal.append(what)

    def person(self, *, allowed: bool = True, email: str | None = "ada@example.com", locale: str | None = None) -> UUID:
        user_id = uuid7()
        decision = (
            Decision(allowed=True, layer="channel_default", reason="not refused")
            if allowed
            else Decision(allowed=False, layer="channel_opt_out", reason="wants no e-mail")
        )
        self.contacts.people[user_id] = Contact(
            user_id=user_id, name="Ada", email=email, locale=locale, devices=[], decision=decision, version=1
        )
        return user_id

    def work(self, user_id: UUID | None = None, *, seen_before: int = 0, crashes: int = 0, **given: Any) -> Work:
        return Work(self.request(user_id, **given), "normal", seen_before, crashes=crashes)

    def request(self, user_id: UUID | None = None, **given: Any) -> DeliveryRequested:
        fields: dict[str, Any] = {
            "notification_id": uuid7(),
            "generation": 0,
            "channel": "email",
            "user_id": user_id or self.person(),
            "template_code": "welcome",
            "variables": {"name": "Ada"},
            "priority": 5,
            "accepted_at": START,
            "correlation_id": "test",
        }
        return DeliveryRequested(**{**fields, **given})

    def _pool(self) -> Pool:
        routes = [
            Route(
                provider,
                Breaker(failures=3, rest_seconds=10, clock=lambda: self.time),
                connections=self.slots,
                clock=lambda: self.time,
            )
            for provider in self.providers
        ]
        return Pool(routes, total=self.slots)
