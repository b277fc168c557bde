"""Batches in hand: bounded, drained within a bound, and never blown up by a handler."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from uuid import uuid4

import pytest
import structlog

from carillon.kit.broker.batches import Batches, outcomes_of
from carillon.kit.broker.port import Delivery, Done, Message, Outcome
from carillon.kit.broker.postgres.adapter import CHUNK_BYTES, CHUNK_MESSAGES, chunks
from carillon.kit.broker.postgres.polling import Poll

DELIVERY = Delivery("email.queue", b"body of ada@example.org", {}, uuid4(), redelivered=False, delivery_count=0)


async def test_room_waits_until_a_batch_has_finished() -> None:
    batches = Batches("q", limit=1, drain_timeout=1)
    finish = asyncio.Event()

    async def work() -> None:
        await finish.wait()

    await batches.room()
    batches.start(work())
    room = asyncio.ensure_future(batches.room())
    await asyncio.sleep(0)
    assert not room.done()
    finish.set()
    await asyncio.wait_for(room, 5)


async def test_draining_cancels_what_does_not_end_in_time() -> None:
    batches = Batches("q", limit=1, drain_timeout=0.05)
    cancelled = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    batches.start(work())
    await asyncio.sleep(0)

    await asyncio.wait_for(batches.drain(), 5)

    assert cancelled.is_set()


async def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Batches("q", limit=0, drain_timeout=1)


async def test_a_handler_that_raises_is_logged_by_type_and_place_without_its_words() -> None:
    async def raises(batch: Sequence[Delivery]) -> Sequence[Outcome]:
        raise RuntimeError(f"cannot handle {batch[0].body!r}")

    with structlog.testing.capture_logs() as logs:
        outcomes = await outcomes_of(raises, [DELIVERY])

    assert outcomes is None
    (entry,) = logs
    assert (entry["event"], entry["error"]) == ("broker_handler_failed", "RuntimeError")
    assert "raises" in str(entry["where"])
    assert "ada@example.org" not in str(entry)


async def test_outcomes_pass_through() -> None:
    async def handle(batch: Sequence[Delivery]) -> Sequence[Outcome]:
        return [Done() for _ in batch]

    assert await outcomes_of(handle, [DELIVERY]) == [Done()]


def test_a_publish_is_cut_by_rows_and_by_bytes_and_loses_none() -> None:
    small = [Message("q", b"") for _ in range(CHUNK_MESSAGES + 1)]
    large = [Message("q", bytes(CHUNK_BYTES // 2 + 1)) for _ in range(3)]

    assert [len(chunk) for chunk in chunks(small)] == [CHUNK_MESSAGES, 1]
    assert [len(chunk) for chunk in chunks(large)] == [1, 1, 1]
    assert [message for chunk in chunks(small + large) for message in chunk] == small + large
    assert list(chunks([])) == []


@pytest.mark.parametrize("turns", range(4))
async def test_a_stop_that_meets_a_wake_is_not_lost(turns: int) -> None:
    wake = asyncio.Event()
    resting = asyncio.ensure_future(Poll(wake).found_nothing())
    await asyncio.sleep(0)

    wake.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    asked = resting.cancel()
    await asyncio.wait([resting], timeout=5)

    assert resting.cancelled() == asked


async def test_a_stop_that_a_library_has_swallowed_ends_the_consumer_at_its_next_batch() -> None:
    batches = Batches("q", limit=1, drain_timeout=1)

    async def swallow_the_first() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        while True:
            await batches.room()

    consumer = asyncio.ensure_future(swallow_the_first())
    await asyncio.sleep(0)
    consumer.cancel()
    await asyncio.wait([consumer], timeout=5)

    assert consumer.cancelled()
