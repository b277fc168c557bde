"""So many at a time: others wait for a moment, are told when to come again, and leave no place taken."""

import asyncio
import contextlib

import pytest

from carillon.kit.bulkhead import Bulkhead
from carillon.kit.errors import Unavailable


async def test_who_finds_no_place_in_time_is_told_when_to_come_again() -> None:
    bulkhead = Bulkhead(1, patience=0.01, says="Too many.", retry_after=7)

    async with bulkhead.place():
        with pytest.raises(Unavailable) as refused:
            async with bulkhead.place():
                raise AssertionError("there is one place")

    assert (refused.value.message, refused.value.headers) == ("Too many.", {"Retry-After": "7"})
    async with bulkhead.place():
        pass


async def test_a_place_is_free_again_for_whoever_waits_whatever_became_of_its_holder() -> None:
    bulkhead = Bulkhead(1, patience=20, says="Too many.")
    inside = asyncio.Event()

    async def hold() -> None:
        async with bulkhead.place():
            inside.set()
            await asyncio.Event().wait()

    holder = asyncio.create_task(hold())
    async with asyncio.timeout(20):
        await inside.wait()
        waiting = asyncio.create_task(taken(bulkhead))
        holder.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await holder
        assert await waiting is True

    with pytest.raises(ZeroDivisionError):
        async with bulkhead.place():
            raise ZeroDivisionError
    assert await taken(bulkhead) is True


async def taken(bulkhead: Bulkhead) -> bool:
    async with bulkhead.place():
        return True
