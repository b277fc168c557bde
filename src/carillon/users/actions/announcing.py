"""Telling everybody who remembers a user that the user has changed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol
from uuid import UUID

import msgspec
import structlog

from carillon.contracts.channels import ERASURES_QUEUE, USERS_EVENTS
from carillon.contracts.messages import CORRELATION_HEADER
from carillon.contracts.users import TOLD_WITHIN_SECONDS, AllTold
from carillon.kit.broker.port import Message
from carillon.users.domain.events import Backlog, WaitingEvent

_log = structlog.get_logger()
LEASE_SECONDS = 10.0
ANNOUNCE_SECONDS = 2.0
"""After that it is given back: other processes may have a better link to the broker."""
BATCH = 100
_ALL_TOLD = msgspec.json.encode(AllTold(all_told=True))
QUEUES = frozenset({ERASURES_QUEUE})
"""Topics that are queues."""


class Outbox(Protocol):
    """Events that were committed with their change."""

    async def backlog(self) -> Backlog: ...

    async def claim(self, *, size: int, lease_seconds: float) -> list[WaitingEvent]: ...

    async def settle(self, event_ids: Sequence[UUID]) -> None: ...

    async def give_back(self, event_ids: Sequence[UUID]) -> None: ...


class Announcer(Protocol):
    """The part of the broker that this needs."""

    async def announce(self, topic: str, body: bytes) -> None: ...

    async def publish(self, messages: Sequence[Message]) -> None: ...


Outdate = Callable[[dict[UUID, int]], Awaitable[None]]
"""Drops shared copies of users that are older than these versions."""


async def nothing_shared(_versions: dict[UUID, int]) -> None:
    """For where no copies are shared."""


async def announce_batch(outbox: Outbox, announcer: Announcer, *, outdate: Outdate = nothing_shared) -> int:
    """Announce what waits, at least once each; how many there were. What was not announced is given back at once.

    Shared copies are dropped first: whoever hears of the change does not find the old one there.
    """
    claimed = await outbox.claim(size=BATCH, lease_seconds=LEASE_SECONDS)
    told: list[UUID] = []
    try:
        await outdate(_versions(claimed))
        for event in claimed:
            async with asyncio.timeout(ANNOUNCE_SECONDS):
                await _tell(event, announcer)
            told.append(event.event_id)
    finally:
        if told:
            await outbox.settle(told)
        if untold := [event.event_id for event in claimed if event.event_id not in told]:
            await outbox.give_back(untold)
    if told:
        _log.info("changes_announced", count=len(told))
    return len(claimed)


async def vouch(outbox: Outbox, announcer: Announcer) -> Backlog:
    """Say that all was told, unless a change waits for too long; who hears nothing goes by memory no more.

    It is said before anything committed by now could have waited for too long, or not at all. How much waits.
    """
    asked_at = asyncio.get_running_loop().time()
    backlog = await outbox.backlog()
    if backlog.oldest_seconds < TOLD_WITHIN_SECONDS:
        async with asyncio.timeout_at(asked_at + TOLD_WITHIN_SECONDS - backlog.oldest_seconds):
            await announcer.announce(USERS_EVENTS, _ALL_TOLD)
    return backlog


def _versions(events: Sequence[WaitingEvent]) -> dict[UUID, int]:
    """The newest version of each user among the events; ids and versions are this service's own."""
    newest: dict[UUID, int] = {}
    for body in (event.body for event in events if {"user_id", "version"} <= event.body.keys()):
        user_id = UUID(body["user_id"])
        newest[user_id] = max(newest.get(user_id, 0), body["version"])
    return newest


async def _tell(event: WaitingEvent, announcer: Announcer) -> None:
    """What must not be missed goes to its queue, and is told once that is durable; the rest to whoever listens now."""
    body = msgspec.json.encode(event.body)
    if event.topic in QUEUES:
        headers = {CORRELATION_HEADER: str(event.event_id)}
        await announcer.publish([Message(event.topic, body, headers, event.event_id)])
    else:
        await announcer.announce(event.topic, body)
