"""Many callers share a flush; one caller's trouble is nobody else's."""

import asyncio
from collections.abc import Sequence

import pytest

from carillon.kit.coalescer import Coalescer
from carillon.kit.errors import Unavailable


class Flushes:
    """Records each batch; waits at the gate while it is closed."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(items))
        await asyncio.wait_for(self.gate.wait(), 5)
        return [ValueError(f"odd: {item}") if item % 2 else item * 10 for item in items]


async def gathered_after_the_first(
    flushes: Flushes, coalescer: Coalescer[int, int], items: Sequence[int]
) -> list[object]:
    """Hand in 0, and the rest while its flush is held at the gate."""
    flushes.gate.clear()
    first = asyncio.create_task(coalescer(0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rest = [asyncio.create_task(coalescer(item)) for item in items]
    await asyncio.sleep(0)
    flushes.gate.set()
    return await asyncio.wait_for(asyncio.gather(first, *rest, return_exceptions=True), 5)


async def test_what_gathers_during_a_flush_goes_with_the_next_one() -> None:
    flushes = Flushes()
    answers = await gathered_after_the_first(flushes, Coalescer(flushes), [2, 4, 6])
    assert flushes.batches == [[0], [2, 4, 6]]
    assert answers == [0, 20, 40, 60]


async def test_an_exception_in_a_result_reaches_its_own_caller_only() -> None:
    flushes = Flushes()
    answers = await gathered_after_the_first(flushes, Coalescer(flushes), [2, 3])
    assert answers[1] == 20
    assert isinstance(answers[2], ValueError)


async def test_a_flush_that_fails_fails_every_caller_of_its_batch_and_no_later_one() -> None:
    broken = True

    async def flush(items: Sequence[int]) -> list[int | Exception]:
        if broken:
            raise ConnectionError("gone")
        return list(items)

    coalescer: Coalescer[int, int] = Coalescer(flush)
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(coalescer(1), 5)
    broken = False
    assert await asyncio.wait_for(coalescer(2), 5) == 2


async def test_a_caller_that_hangs_up_does_not_stop_the_flush() -> None:
    flushes = Flushes()
    coalescer: Coalescer[int, int] = Coalescer(flushes)
    flushes.gate.clear()
    impatient = asyncio.create_task(coalescer(2))
    await asyncio.sleep(0)
    patient = asyncio.create_task(coalescer(4))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.wait([impatient], timeout=5)
    flushes.gate.set()
    assert await asyncio.wait_for(patient, 5) == 40
    await asyncio.wait_for(coalescer.drain(), 5)
    assert sorted(item for batch in flushes.batches for item in batch) == [2, 4]


async def test_a_batch_is_never_larger_than_its_size() -> None:
    flushes = Flushes()
    await gathered_after_the_first(flushes, Coalescer(flushes, size=2), [2, 4, 6, 8, 10])
    assert max(len(batch) for batch in flushes.batches) == 2


async def test_who_comes_when_too_many_wait_is_sent_away_and_the_others_are_served() -> None:
    flushes = Flushes()
    answers = await gathered_after_the_first(flushes, Coalescer(flushes, most=2), [2, 4, 6])
    assert answers[:3] == [0, 20, 40]
    assert isinstance(answers[3], Unavailable)


async def test_drain_waits_for_everything_handed_in() -> None:
    flushes = Flushes()
    coalescer: Coalescer[int, int] = Coalescer(flushes)
    handed_in = [asyncio.create_task(coalescer(item)) for item in (2, 4, 6)]
    await asyncio.sleep(0)
    await asyncio.wait_for(coalescer.drain(), 5)
    assert [await task for task in handed_in] == [20, 40, 60]


@pytest.mark.parametrize("parallel", [1, 2])
async def test_who_asks_in_the_very_moment_in_which_a_flusher_ends_is_served(parallel: int) -> None:
    flushes = Flushes()
    coalescer = Coalescer(flushes, parallel=parallel)

    async def one_after_the_other() -> list[int]:
        return [await coalescer(item) for item in (2, 4, 6)]

    answers = await asyncio.wait_for(asyncio.gather(*(one_after_the_other() for _ in range(3))), 5)
    assert answers == [[20, 40, 60]] * 3


async def test_a_flush_that_answers_too_little_fails_its_callers_instead_of_leaving_them_waiting() -> None:
    async def flush(items: Sequence[int]) -> list[int | Exception]:
        return list(items[1:])

    coalescer: Coalescer[int, int] = Coalescer(flush)
    with pytest.raises(ValueError, match="answered 0"):
        await asyncio.wait_for(coalescer(1), 5)


async def test_a_flush_that_lingers_takes_what_comes_meanwhile_along() -> None:
    flushes = Flushes()
    coalescer = Coalescer(flushes, linger=0.2)

    first = asyncio.create_task(coalescer(2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    later = asyncio.create_task(coalescer(4))

    assert (await first, await later) == (20, 40)
    assert flushes.batches == [[2, 4]]


async def test_a_full_flush_does_not_linger() -> None:
    flushes = Flushes()
    coalescer = Coalescer(flushes, size=2, linger=60)

    async with asyncio.timeout(10):
        assert list(await asyncio.gather(coalescer(2), coalescer(4))) == [20, 40]


async def test_draining_waits_for_what_lingers() -> None:
    flushes = Flushes()
    coalescer = Coalescer(flushes, linger=0.05)
    asked = coalescer.ask(2)

    await coalescer.drain()

    assert asked.result() == 20
