"""What the relay may give to the broker, and whose turn comes next."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.gateway.actions.room import Room
from carillon.gateway.domain import Due
from carillon.gateway.turns import FIRST, QUEUES, Turn, last_served, more_waits
from carillon.kit.broker.port import BrokerUnavailable
from carillon.kit.ids import uuid7


class Lengths:
    """A broker that tells how full its queues are, or does not."""

    def __init__(self) -> None:
        self.waiting: dict[str, int] = dict.fromkeys(QUEUES, 0)
        self.asked: list[list[str]] = []
        self.away = False
        self.now = 0.0

    async def ask(self, queues: Sequence[str], *, most: int) -> Mapping[str, int]:
        self.asked.append(list(queues))
        if self.away:
            raise BrokerUnavailable("no broker there")
        return {queue: min(self.waiting[queue], most) for queue in queues}

    def room(self, bound: int = 100) -> Room:
        return Room(self.ask, bound, clock=lambda: self.now)


def due(queue: str = "email.queue", caller: int = 1, count: int = 1) -> list[Due]:
    return [Due(uuid7(), 0, queue, "c", b"{}", datetime.now(UTC), UUID(int=caller)) for _ in range(count)]


async def test_the_broker_is_asked_when_half_of_the_room_is_used_up_and_no_sooner() -> None:
    lengths = Lengths()
    room = lengths.room()
    await room.look()
    assert lengths.asked == []  # at first half of it is taken for free
    room.took(due(count=1))
    await room.look()
    room.took(due(count=50))
    lengths.now = 1.0
    await room.look()
    assert lengths.asked == [["email.queue"]]
    room.took(due(count=1))
    await room.look()

    assert lengths.asked == [["email.queue"]] * 2


async def test_what_waits_and_what_was_published_since_fill_a_queue_to_its_bound_and_no_further() -> None:
    lengths = Lengths()
    room = lengths.room()
    room.took(due(count=50))
    lengths.waiting["email.queue"] = 70
    await room.look()
    assert (room.left["email.queue"], room.least) == (30, 30)
    room.took(due(count=30))
    lengths.waiting["email.queue"] = 40
    lengths.now = 0.1
    await room.look()
    assert room.least == 0
    assert "email.queue" not in {turn.queue for turn in room.turns(500)}
    assert {turn.queue for turn in room.turns(500)} == QUEUES.keys() - {"email.queue"}
    lengths.now = 0.2
    await room.look()

    assert room.left["email.queue"] == 60
    assert len(lengths.asked) == 2


async def test_a_queue_that_is_fuller_than_its_bound_gets_nothing() -> None:
    lengths = Lengths()
    room = lengths.room()
    room.took(due(count=50))
    lengths.waiting["email.queue"] = 100_000
    await room.look()

    assert room.least == 0


async def test_while_the_broker_does_not_tell_a_little_may_go() -> None:
    lengths = Lengths()
    room = lengths.room()
    lengths.away = True
    gone = 0
    for step in range(11):
        lengths.now = step * 0.1
        await room.look()
        gone += room.left["email.queue"]
        room.took(due(count=room.left["email.queue"]))
    assert gone == 50 + 5 * 5
    assert len(lengths.asked) == 5
    lengths.away = False
    lengths.now = 2.0
    await room.look()

    assert room.left["email.queue"] == 100


async def test_what_goes_to_no_queue_of_the_lanes_is_not_counted() -> None:
    room = Lengths().room()
    room.took(due(queue="nowhere", count=1000))
    assert set(room.left.values()) == {50}


@pytest.mark.parametrize(
    ("past", "had", "last"),
    [
        (0, {1: 2, 2: 2, 3: 2}, 3),
        (0, {1: 3, 2: 2, 3: 2}, 1),
        (2, {3: 1, 1: 1, 2: 1}, 2),
        (2, {3: 2, 1: 2, 2: 1}, 1),
        (5, {}, 5),
    ],
)
def test_the_next_turn_begins_after_who_was_served_last(past: int, had: dict[int, int], last: int) -> None:
    claimed = [each for caller, count in had.items() for each in due(caller=caller, count=count)]
    claimed += due(queue="push.queue", caller=9, count=9)

    assert last_served(Turn("email.queue", 10, UUID(int=past)), claimed) == UUID(int=last)


@given(st.integers(0, 20), st.integers(1, 20), st.integers(1, 20))
def test_more_may_wait_only_where_a_bound_was_met(found: int, room: int, size: int) -> None:
    claimed = due(count=min(found, room, size))
    asked = [Turn("email.queue", room), Turn("push.queue", room, FIRST)]

    assert more_waits(asked, claimed, size) == (found >= min(room, size))


def test_high_lanes_come_before_normal_ones_and_bulk_comes_last() -> None:
    order = sorted(QUEUES, key=lambda queue: Turn(queue, 1).lane)
    assert [queue.removeprefix("email.") for queue in order if "email" in queue] == [
        "high.queue",
        "queue",
        "bulk.queue",
    ]
