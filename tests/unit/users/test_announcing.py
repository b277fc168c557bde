"""Announcing: every committed change is told at least once, also when the broker is away for a while."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from carillon.kit.broker.port import BrokerUnavailable, Message
from carillon.kit.ids import uuid7
from carillon.users.actions.announcing import announce_batch, vouch
from carillon.users.domain.events import Backlog, WaitingEvent


@dataclass
class FakeOutbox:
    events: dict[UUID, WaitingEvent] = field(default_factory=dict)
    claimed: set[UUID] = field(default_factory=set)
    oldest_seconds: float = 0

    def add(self, topic: str = "users.events") -> UUID:
        event = WaitingEvent(uuid7(), topic, {"user_id": str(uuid7()), "version": 2})
        self.events[event.event_id] = event
        return event.event_id

    async def backlog(self) -> Backlog:
        return Backlog(len(self.events), self.oldest_seconds)

    async def claim(self, *, size: int, lease_seconds: float) -> list[WaitingEvent]:
        free = [event for event in self.events.values() if event.event_id not in self.claimed][:size]
        self.claimed |= {event.event_id for event in free}
        return free

    async def settle(self, event_ids: Sequence[UUID]) -> None:
        for event_id in event_ids:
            del self.events[event_id]

    async def give_back(self, event_ids: Sequence[UUID]) -> None:
        self.claimed -= set(event_ids)


@dataclass
class FakeAnnouncer:
    heard: list[bytes] = field(default_factory=list)
    published: list[Message] = field(default_factory=list)
    fails_after: int = 10_000

    async def announce(self, topic: str, body: bytes) -> None:
        if len(self.heard) >= self.fails_after:
            raise BrokerUnavailable("away")
        self.heard.append(body)

    async def publish(self, messages: Sequence[Message]) -> None:
        if len(self.heard) >= self.fails_after:
            raise BrokerUnavailable("away")
        self.published += messages


async def test_what_waits_is_announced_once_and_gone() -> None:
    outbox, announcer = FakeOutbox(), FakeAnnouncer()
    for _ in range(3):
        outbox.add()

    assert await announce_batch(outbox, announcer) == 3
    assert await announce_batch(outbox, announcer) == 0

    assert len(announcer.heard) == 3
    assert outbox.events == {}


async def test_what_could_not_be_announced_is_free_for_the_next_try() -> None:
    outbox, announcer = FakeOutbox(), FakeAnnouncer(fails_after=2)
    for _ in range(5):
        outbox.add()

    with pytest.raises(BrokerUnavailable):
        await announce_batch(outbox, announcer)

    assert len(outbox.events) == 3
    announcer.fails_after = 10_000
    assert await announce_batch(outbox, announcer) == 3
    assert len(set(announcer.heard)) == 5


async def test_shared_copies_are_dropped_before_anybody_hears_of_the_change() -> None:
    outbox, announcer = FakeOutbox(), FakeAnnouncer()
    told: list[tuple[dict[UUID, int], int]] = []

    async def outdate(versions: dict[UUID, int]) -> None:
        told.append((versions, len(announcer.heard)))

    first = outbox.events[outbox.add()]
    user_id = first.body["user_id"]
    for version in (4, 3):
        again = WaitingEvent(uuid7(), "users.events", {"user_id": user_id, "version": version})
        outbox.events[again.event_id] = again

    await announce_batch(outbox, announcer, outdate=outdate)

    assert told == [({UUID(user_id): 4}, 0)]


async def test_what_could_not_be_dropped_for_an_unforeseen_reason_is_announced_by_the_next_try() -> None:
    outbox, announcer = FakeOutbox(), FakeAnnouncer()
    outbox.add()

    async def outdate(_versions: dict[UUID, int]) -> None:
        raise ValueError("unforeseen")

    with pytest.raises(ValueError, match="unforeseen"):
        await announce_batch(outbox, announcer, outdate=outdate)

    assert await announce_batch(outbox, announcer) == 1


async def test_an_erasure_goes_to_its_durable_queue_and_to_no_topic() -> None:
    outbox, announcer = FakeOutbox(), FakeAnnouncer()
    event_id = outbox.add("erasures.gateway.queue")

    assert await announce_batch(outbox, announcer) == 1

    assert [(one.queue, one.message_id) for one in announcer.published] == [("erasures.gateway.queue", event_id)]
    assert (announcer.heard, outbox.events) == ([], {})


async def test_an_erasure_that_could_not_be_published_waits_in_the_outbox() -> None:
    outbox, announcer = FakeOutbox(), FakeAnnouncer(fails_after=0)
    event_id = outbox.add("erasures.gateway.queue")

    with pytest.raises(BrokerUnavailable):
        await announce_batch(outbox, announcer)

    assert (list(outbox.events), outbox.claimed) == ([event_id], set())


@pytest.mark.parametrize(("oldest_seconds", "said"), [(0, 1), (1.9, 1), (2.0, 0), (3600, 0)])
async def test_all_is_said_to_be_told_only_while_nothing_waits_for_long(oldest_seconds: float, said: int) -> None:
    announcer = FakeAnnouncer()

    await vouch(FakeOutbox(oldest_seconds=oldest_seconds), announcer)

    assert announcer.heard == [b'{"all_told":true}'] * said


async def test_what_is_said_too_late_is_not_said() -> None:
    """Whatever was committed since the look may wait by now."""

    class Hangs(FakeAnnouncer):
        async def announce(self, topic: str, body: bytes) -> None:
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await vouch(FakeOutbox(oldest_seconds=1.95), Hangs())
