"""A consumer process for the suite: says which messages it holds, and when a line comes in finishes them and ends."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from carillon.kit.broker.open import open_broker
from carillon.kit.broker.port import Delivery, Done, Outcome, Topology, Tuning


@dataclass(frozen=True, slots=True)
class Told:
    """What the first argument holds, as JSON."""

    url: str
    topology: Topology
    tuning: Tuning


async def main() -> None:
    """Consume until told to finish, or killed."""
    told = msgspec.json.decode(sys.argv[1], type=Told)
    finish = asyncio.Event()

    async def wait_for_the_word() -> None:
        await asyncio.to_thread(sys.stdin.readline)
        finish.set()

    async def handle(batch: Sequence[Delivery]) -> Sequence[Outcome]:
        print("holds", *[delivery.body.decode() for delivery in batch], flush=True)  # noqa: T201 - read by the test
        await finish.wait()
        print("finished", flush=True)  # noqa: T201 - read by the test
        return [Done() for _ in batch]

    word = asyncio.create_task(wait_for_the_word())
    async with open_broker(told.url, told.topology, name="slow consumer", tuning=told.tuning) as broker:
        consuming = asyncio.create_task(broker.consume(told.topology.queues[0], handle, size=5, in_flight=1))
        await word
        consuming.cancel()  # drains: the batch in hand is finished and settled
        await asyncio.wait([consuming])


if __name__ == "__main__":
    asyncio.run(main())
