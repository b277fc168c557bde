"""What a subscriber has not read yet."""

import asyncio

from carillon.kit.broker.events import EventQueue
from carillon.kit.broker.port import Announced, LinkLost, Reconnected
from tests.support.waiting import eventually


async def test_events_come_out_in_order() -> None:
    events = EventQueue()
    for body in (b"1", b"2"):
        events.put(Announced("t", body))

    assert [await anext(events), await anext(events)] == [Announced("t", b"1"), Announced("t", b"2")]


async def test_a_reader_that_came_first_is_woken() -> None:
    events = EventQueue()
    reader = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)

    events.put(Reconnected())

    assert await eventually(lambda: reader.done() and reader.result()) == Reconnected()


async def test_a_reader_that_is_too_slow_is_told_that_it_missed_something() -> None:
    events = EventQueue(capacity=3)
    for number in range(4):
        events.put(Announced("t", b"%d" % number))
    events.put(Announced("t", b"after"))

    assert [await anext(events), await anext(events)] == [Reconnected(), Announced("t", b"after")]


async def test_a_loss_that_does_not_fit_any_more_is_told_all_the_same() -> None:
    events = EventQueue(capacity=2)
    for event in (Announced("t", b"1"), Announced("t", b"2"), LinkLost(), Reconnected()):
        events.put(event)

    assert [await anext(events), await anext(events)] == [LinkLost(), Reconnected()]
