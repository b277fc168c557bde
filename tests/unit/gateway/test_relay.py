"""The relay's loop: it rests, is woken by an acceptance, and stops when it is told to."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

import pytest

from carillon.gateway.actions.relay import Relaying, relay
from carillon.gateway.domain import Due
from carillon.kit.broker.port import Message
from tests.support.waiting import eventually


class EmptyOutbox:
    """Nothing to send; counts how often it was asked."""

    def __init__(self) -> None:
        self.claims = 0

    async def claim(self, size: int, *, lease_seconds: float) -> Sequence[Due]:
        self.claims += 1
        return []

    async def settle(self, sent: Sequence[Due], at: datetime) -> None:
        raise AssertionError(sent)

    async def give_back(self, unsent: Sequence[Due], *, rest_seconds: float) -> None:
        raise AssertionError(unsent)

    async def waiting(self) -> int:
        return 0


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
