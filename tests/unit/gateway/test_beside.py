"""What is done beside a round: it ends by itself, ends no round, and holds none up."""

import asyncio

import pytest
from structlog.testing import capture_logs

from carillon.gateway.actions.beside import Beside
from tests.support.waiting import eventually


class Held:
    """Something that lasts until it is let go, and how often it was begun."""

    def __init__(self, *answers: str | Exception | None) -> None:
        self.begun = 0
        self.go = asyncio.Event()
        self._answers = list(answers)

    async def look(self) -> str | None:
        """At once where there is an answer left."""
        self.begun += 1
        if not self._answers:
            await self.go.wait()
            return None
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def round(self) -> str:
        self.begun += 1
        await self.go.wait()
        return "over"


async def quick() -> str:
    return "quick"


async def test_somebody_looks_again_and_again_until_the_round_ends() -> None:
    looked, work = Held(*[None] * 1_000), Held()
    beside = Beside[str](looked.look)

    going = asyncio.create_task(beside.go(work.round(), beside=True))
    await eventually(lambda: looked.begun >= 3)
    work.go.set()

    assert await going == "over"
    await eventually(lambda: not beside.looks)
    assert beside.told() is None


@pytest.mark.parametrize("met", ["not now", ValueError("a secret")], ids=["trouble", "error"])
async def test_after_trouble_nobody_looks_any_more_the_round_ends_as_it_would_and_the_trouble_is_told_once(
    met: str | Exception,
) -> None:
    looked, work = Held(None, met, *[None] * 1_000), Held()
    beside = Beside[str](looked.look)

    with capture_logs() as logs:
        going = asyncio.create_task(beside.go(work.round(), beside=True))
        await eventually(lambda: looked.begun == 2 and not beside.looks)
        assert not going.done()
        work.go.set()

        assert await going == "over"
    assert looked.begun == 2
    assert [beside.told(), beside.told()] == ["not now" if met == "not now" else "ValueError", None]
    assert "a secret" not in str(logs)


async def test_a_look_that_lasts_holds_up_no_round_and_is_the_only_one() -> None:
    looked, work = Held(), [Held(), Held(), Held()]
    beside = Beside[str](looked.look)

    for one in work:
        going = asyncio.create_task(beside.go(one.round(), beside=True))
        await eventually(lambda: one.begun and beside.looks)  # noqa: B023 - awaited in this turn
        one.go.set()
        async with asyncio.timeout(5):
            assert await going == "over"

    assert looked.begun == 1
    looked.go.set()
    await eventually(lambda: not beside.looks)


async def test_a_quick_round_and_one_of_no_backlog_have_nobody_beside_them() -> None:
    looked, work = Held(), Held()
    beside = Beside[str](looked.look)

    assert await beside.go(quick(), beside=True) == "quick"
    going = asyncio.create_task(beside.go(work.round(), beside=False))
    await eventually(lambda: work.begun)
    work.go.set()

    assert (await going, looked.begun) == ("over", 0)


async def test_a_stop_waits_for_what_is_in_hand_and_ends_what_lasts_too_long() -> None:
    for held, seconds in ((False, 5.0), (True, 0.05)):
        looked, work = Held(), Held()
        beside = Beside[str](looked.look)
        going = asyncio.create_task(beside.go(work.round(), beside=True))
        await eventually(lambda: looked.begun)  # noqa: B023 - awaited in this turn
        going.cancel()
        await asyncio.wait([going])
        assert beside.looks, "the stop has not reached it"

        draining = asyncio.create_task(beside.drain(seconds))
        if not held:
            looked.go.set()
            work.go.set()
        await draining
        await eventually(lambda: not beside.looks)  # noqa: B023 - as above
        assert going.cancelled()


async def test_a_stop_that_is_hurried_leaves_nobody_at_work() -> None:
    held = asyncio.Event()

    async def forever() -> None:
        await held.wait()

    beside: Beside[None] = Beside(lambda: asyncio.sleep(0, None))
    going = asyncio.create_task(beside.go(forever(), beside=True))
    await eventually(lambda: beside.looks)
    mine = {task for task in asyncio.all_tasks() if task not in {asyncio.current_task(), going}}
    going.cancel()
    draining = asyncio.create_task(beside.drain(60))
    await asyncio.sleep(0)
    draining.cancel()
    await asyncio.gather(going, draining, return_exceptions=True)

    assert mine
    await eventually(lambda: all(task.done() for task in mine))
