"""The e-mail worker among real neighbours: PostgreSQL as store and broker, HTTP for look-ups, SMTP on the wire."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from aiohttp import web

from carillon.contracts.channels import FAILED_QUEUE, STATUS_QUEUE, Lane, queue_of, topology
from carillon.contracts.messages import DeliveriesReported, DeliveryReported, DeliveryRequested
from carillon.contracts.templates import Content, PublishedTemplate
from carillon.contracts.users import Contact, ContactsFound, ContactsWanted, Decision, UserChanged
from carillon.email_worker.app import build
from carillon.email_worker.settings import EmailWorkerSettings
from carillon.kit.broker.open import open_broker
from carillon.kit.broker.port import Broker, Delivery, Done, Message, Outcome
from carillon.kit.http.envelope import Envelope
from carillon.kit.ids import uuid7
from carillon.kit.service import Running
from tests.fakes.smtp import FakeSmtp
from tests.support.peers import Peer, peer

LADDER = (0.1, 0.2, 0.5)
YES = Decision(allowed=True, layer="channel_default", reason="not refused")
NO = Decision(allowed=False, layer="channel_opt_out", reason="wants no e-mail")


@dataclass
class House:
    """What the test says and sees. `reports` and `dead` gather what the worker put into its queues."""

    broker: Broker
    smtp: FakeSmtp
    settings: EmailWorkerSettings
    elsewhere: Peer
    people: dict[UUID, Contact] = field(default_factory=dict)
    template: PublishedTemplate | None = None
    reports: list[DeliveryReported] = field(default_factory=list)
    dead: list[Delivery] = field(default_factory=list)
    questions: int = 0

    def person(self, email: str, decision: Decision = YES) -> UUID:
        user_id = uuid7()
        self.decide(user_id, email, decision)
        return user_id

    def decide(self, user_id: UUID, email: str, decision: Decision) -> None:
        self.people[user_id] = Contact(
            user_id=user_id, name="Ada", email=email, locale=None, devices=[], decision=decision, version=1
        )

    def request(self, user_id: UUID, **given: Any) -> DeliveryRequested:
        fields: dict[str, Any] = {
            "notification_id": uuid7(),
            "generation": 0,
            "channel": "email",
            "user_id": user_id,
            "template_code": "welcome",
            "variables": {"name": "Ada"},
            "priority": 5,
            "accepted_at": datetime.now(UTC),
            "correlation_id": "test",
        }
        return DeliveryRequested(**{**fields, **given})

    async def publish(self, *requests: DeliveryRequested, lane: Lane = "normal") -> None:
        queue = queue_of("email", lane)
        await self.broker.publish([Message(queue, msgspec.json.encode(request)) for request in requests])

    async def announce(self, user_id: UUID) -> None:
        await self.broker.announce("users.events", msgspec.json.encode(UserChanged(user_id=user_id, version=2)))

    def status(self, request: DeliveryRequested) -> str | None:
        """The last word on a notification: an ending, where one was told."""
        told = [report for report in self.reports if report.notification_id == request.notification_id]
        return max(told, key=lambda report: report.rank).status if told else None

    def told(self, request: DeliveryRequested, status: str) -> list[DeliveryReported]:
        return [r for r in self.reports if r.notification_id == request.notification_id and r.status == status]

    @contextlib.asynccontextmanager
    async def worker(self, **changes: Any) -> AsyncIterator[Running]:
        """A worker that runs for the length of the block, drained at its end."""
        async with build(msgspec.structs.replace(self.settings, **changes)).open() as running:
            loops = [asyncio.ensure_future(loop()) for loop in running.loops.values()]
            try:
                yield running
            finally:
                for loop in loops:
                    loop.cancel()
                await asyncio.wait(loops, timeout=30)

    async def contacts(self, request: web.Request) -> web.Response:
        self.questions += 1
        wanted = msgspec.json.decode(await request.read(), type=ContactsWanted)
        found = [self.people[user_id] for user_id in wanted.user_ids if user_id in self.people]
        return web.Response(body=msgspec.json.encode(Envelope(ContactsFound(found, []))))

    async def published(self, _request: web.Request) -> web.Response:
        if self.template is None:
            refusal = {"success": False, "error": "template_not_published", "message": "Nothing is published."}
            return web.json_response(refusal, status=404)
        return web.Response(body=msgspec.json.encode(Envelope(self.template)), headers={"ETag": '"1"'})

    def publish_template(self, *, at_most_once: bool = False) -> None:
        content = Content(subject="Hello {{ name }}", body_text="Dear {{ name }}", body_html="<p>Dear {{ name }}</p>")
        self.template = PublishedTemplate(
            code="welcome",
            channel="email",
            language="en",
            version=1,
            category=None,
            at_most_once=at_most_once,
            content=content,
        )

    async def hear_reports(self, deliveries: Any) -> list[Outcome]:
        for delivery in deliveries:
            self.reports += msgspec.json.decode(delivery.body, type=DeliveriesReported).reports
        return [Done()] * len(deliveries)

    async def hear_dead(self, deliveries: Any) -> list[Outcome]:
        self.dead += deliveries
        return [Done()] * len(deliveries)


@contextlib.asynccontextmanager
async def house(database: str, smtp: FakeSmtp, folder: Path) -> AsyncIterator[House]:
    token = folder / "token"
    token.write_text("crl_test\n")
    async with open_broker(database, topology(LADDER), name="test") as broker, peer([]) as elsewhere:
        settings = EmailWorkerSettings(
            database_url=database,
            broker_url=database,
            token_file=token,
            retry_delays=LADDER,
            retry_base_seconds=0.2,
            breaker_seconds=0.2,
            users_url=elsewhere.url,
            templates_url=elsewhere.url,
            smtp_url=f"smtp://127.0.0.1:{smtp.port}?tls=none",
        )
        built = House(broker, smtp, settings, elsewhere)
        built.publish_template()
        await elsewhere.stop()
        await elsewhere.start(
            [
                web.post("/api/v1/users/contacts", built.contacts),
                web.get("/api/v1/templates/{code}/published", built.published),
            ]
        )
        listening = [
            asyncio.ensure_future(broker.consume(queue, hear, size=100, in_flight=2))
            for queue, hear in ((STATUS_QUEUE, built.hear_reports), (FAILED_QUEUE, built.hear_dead))
        ]
        try:
            yield built
        finally:
            for task in listening:
                task.cancel()
            await asyncio.wait(listening, timeout=30)
