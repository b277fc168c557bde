"""What a consumer has in hand is its own queue's alone: a lane whose workers are all busy holds up no other."""

import asyncio
from collections.abc import Sequence

from carillon.kit.broker.port import Delivery, Done, Message, Outcome
from tests.support.brokers import Ground, Inbox, consuming
from tests.support.waiting import eventually


class Busy:
    """A handler that ends nothing before it is told to."""

    def __init__(self) -> None:
        self.had = self.batches = 0
        self.gate = asyncio.Event()

    async def __call__(self, batch: Sequence[Delivery]) -> Sequence[Outcome]:
        self.had += len(batch)
        self.batches += 1
        await self.gate.wait()
        return [Done() for _ in batch]


async def test_a_queue_whose_handlers_are_all_busy_holds_up_no_other(ground: Ground) -> None:
    flooded, urgent = Busy(), Inbox()
    second = ground.topology.queues[1]

    async with (
        ground.open() as broker,
        consuming(broker, ground.work, flooded, size=5, in_flight=2),
        consuming(broker, second, urgent, size=5, in_flight=2),
    ):
        await broker.publish([Message(ground.work, b"flood") for _ in range(200)])
        await eventually(lambda: flooded.batches == 2)
        for number in range(3):
            await broker.publish([Message(second, b"%d" % number)])
            await eventually(lambda: len(urgent.bodies) > number)  # noqa: B023 - awaited in this turn

        assert flooded.batches == 2
        flooded.gate.set()
        await eventually(lambda: flooded.had == 200)


async def test_no_more_is_taken_from_a_queue_than_its_own_batches_can_hold(ground: Ground) -> None:
    flooded = Busy()

    async with ground.open() as broker, consuming(broker, ground.work, flooded, size=5, in_flight=2):
        await broker.publish([Message(ground.work, b"flood") for _ in range(50)])
        await eventually(lambda: flooded.batches == 2)

        async def left_to_others() -> bool:
            return (await broker.depths())[ground.work].ready == 40

        await eventually(left_to_others)
        assert flooded.had <= 10
        flooded.gate.set()
        await eventually(lambda: flooded.had == 50)
