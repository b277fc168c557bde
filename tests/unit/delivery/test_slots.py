"""Send slots: bounded, a fifth for the high lane, nothing lost to those who leave."""

import asyncio
import contextlib
from typing import Self

import pytest

from carillon.contracts.channels import Lane
from carillon.delivery.slots import NoSlot, Slots
from tests.support.waiting import eventually


class Holders:
    """Tasks that hold a slot until told to let go."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.holding: list[Lane] = []
        self.gates: list[asyncio.Event] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def want(self, lane: Lane, times: int = 1) -> None:
        for _ in range(times):
            gate = asyncio.Event()
            self.gates.append(gate)
            self.tasks.append(asyncio.create_task(self._hold(lane, gate)))

    async def _hold(self, lane: Lane, gate: asyncio.Event) -> None:
        async with self.slots.slot(lane, seconds=60):
            self.holding.append(lane)
            with contextlib.suppress(asyncio.CancelledError):
                await gate.wait()
            self.holding.remove(lane)


async def test_a_broadcast_cannot_take_the_fifth_that_is_kept_for_the_high_lane() -> None:
    async with Holders(Slots(10)) as holders:
        holders.want("bulk", 20)
        await eventually(lambda: len(holders.holding) == 8)

        holders.want("high", 3)
        await eventually(lambda: len(holders.holding) == 10)
        assert holders.holding.count("high") == 2


async def test_the_high_lane_may_use_every_slot_and_comes_first_when_one_is_free() -> None:
    async with Holders(Slots(5)) as holders:
        holders.want("high", 5)
        await eventually(lambda: holders.holding.count("high") == 5)
        holders.want("normal", 2)
        holders.want("high", 2)
        await asyncio.sleep(0)
        for gate in holders.gates[:2]:
            gate.set()
        await eventually(lambda: len(holders.holding) == 5)
        assert holders.holding.count("high") == 5


async def test_a_single_slot_serves_every_lane() -> None:
    slots = Slots(1)
    for lane in ("high", "normal", "bulk"):
        async with slots.slot(lane, seconds=1):
            pass


async def test_who_waits_too_long_is_told_and_takes_nothing_along() -> None:
    slots = Slots(2)
    async with slots.slot("normal", seconds=1):
        with pytest.raises(NoSlot):
            async with slots.slot("normal", seconds=0.01):
                pass
        async with slots.slot("high", seconds=1):
            pass
    async with slots.slot("normal", seconds=1):
        pass


async def test_who_is_cancelled_in_the_moment_of_its_turn_hands_the_slot_on() -> None:
    slots = Slots(1)

    async def briefly() -> None:
        async with slots.slot("normal", seconds=5):
            pass

    async with slots.slot("normal", seconds=1):
        waiting = asyncio.create_task(briefly())
        await asyncio.sleep(0)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting

    async with slots.slot("normal", seconds=1):
        pass
