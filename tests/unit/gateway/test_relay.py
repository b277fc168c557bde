"""The relay's loop: it rests, is woken by an acceptance, and stops when it is told to."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest

from carillon.gateway.actions.relay import Relaying, relay
from carillon.gateway.domain import Due
from carillon.gateway.turns import Turn
from carillon.kit.broker.port import BrokerUnavailable, Message
from carillon.kit.errors import Unavailable
from carillon.kit.ids import uuid7
from tests.support.waiting import eventually


class EmptyOutbox:
    """Nothing to send; counts how often it was asked."""

    def __init__(self) -> None:
        self.claims = 0

    async def claim(self, size: int, *, lease_seconds: float) -> Sequence[Due]:
        self.claims += 1
        return []

    async def take_turns(self, turns: Sequence[Turn], size: int, *, lease_seconds: float) -> Sequence[Due]:
        raise AssertionError(turns)

    async def settle(self, sent: Sequence[Due], at: datetime) -> None:
        raise AssertionError(sent)

    async def give_back(self, unsent: Sequence[Due], *, rest_seconds: float, maybe_sent: bool) -> None:
        raise AssertionError(unsent)


class IdleBroker:
    async def publish(self, messages: Sequence[Message]) -> None:
        raise AssertionError(messages)


@pytest.mark.parametrize("steps", range(6))
async def test_a_stop_that_meets_an_acceptance_is_not_lost(steps: int) -> None:
    outbox, grew = EmptyOutbox(), asyncio.Event()
    relaying = asyncio.ensure_future(relay(Relaying(outbox, IdleBroker(), grew)))
    await eventually(lambda: outbox.claims >= 5)  # by now it rests for a good while between two looks
    for _ in range(10):
        await asyncio.sleep(0)

    grew.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    relaying.cancel()
    stopped, _ = await asyncio.wait([relaying], timeout=5)
    relaying.cancel()

    assert stopped


class Outage:
    """An outbox of one message, and its broker. The database is lost as the broker answers, and for one call more."""

    def __init__(self, *, broker_away: bool) -> None:
        self.due: Due | None = Due(uuid7(), 1, "email.queue", "c", b"{}", datetime.now(UTC))
        self.leased = False
        self.broker_away = broker_away
        self.refusals = 0
        self.published: list[UUID] = []

    async def claim(self, size: int, *, lease_seconds: float) -> Sequence[Due]:
        self._answer()
        if self.due is None or self.leased:
            return []
        self.leased = True
        return [self.due]

    async def take_turns(self, turns: Sequence[Turn], size: int, *, lease_seconds: float) -> Sequence[Due]:
        raise AssertionError(turns)

    async def publish(self, messages: Sequence[Message]) -> None:
        away, self.broker_away = self.broker_away, False
        if away or not self.published:
            self.refusals = 2
        if away:
            raise BrokerUnavailable("both died")
        self.published += [message.message_id for message in messages]

    async def settle(self, sent: Sequence[Due], at: datetime) -> None:
        self._answer()
        self.due = None

    async def give_back(self, unsent: Sequence[Due], *, rest_seconds: float, maybe_sent: bool) -> None:
        self._answer()
        self.leased = False

    def _answer(self) -> None:
        if self.refusals:
            self.refusals -= 1
            raise Unavailable("The database is away.")


@pytest.mark.parametrize("broker_away", [False, True])
async def test_a_batch_that_could_not_be_settled_or_given_back_is_so_when_the_database_returns(
    *, broker_away: bool
) -> None:
    outage = Outage(broker_away=broker_away)
    relaying = asyncio.ensure_future(relay(Relaying(outage, outage, asyncio.Event())))
    try:
        await eventually(lambda: outage.due is None)
    finally:
        relaying.cancel()
        await asyncio.wait([relaying], timeout=5)

    assert len(outage.published) == 1
