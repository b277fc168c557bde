"""While a backlog goes to the broker in large bites, the high lane goes in front of it and beside it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from carillon.gateway.actions.relay import Relaying, relay, relay_once
from carillon.gateway.actions.room import no_bound
from carillon.gateway.domain import Due
from carillon.gateway.turns import Turn
from carillon.kit.broker.port import BrokerUnavailable, Message
from carillon.kit.errors import Unavailable
from carillon.kit.ids import uuid7
from tests.support.waiting import eventually

HIGH, BULK = "email.high.queue", "email.bulk.queue"


class Backlog:
    """An outbox and its broker, which keeps publishes of the bulk lane after the first `free` waiting for `gate`."""

    def __init__(self, *queues: str, free: int = 1) -> None:
        self.rows: list[Due] = []
        self.leased: list[Due] = []
        self.published: list[str] = []
        self.held = self.refuses = self.slow = self.slowed = False
        self.breaks: Exception | None = None
        self.free, self.in_vain = free, 0
        self.gate, self.high_gate = asyncio.Event(), asyncio.Event()
        self.relaying: asyncio.Future[None] = asyncio.Future()
        for queue in queues:
            self.add(queue)

    def add(self, queue: str) -> None:
        self.rows.append(Due(uuid7(), 1, queue, "c", b"{}", datetime.now(UTC)))

    async def claim(self, size: int, *, lease_seconds: float) -> Sequence[Due]:
        return self._lease(self.rows[:size])

    async def take_turns(self, turns: Sequence[Turn], size: int, *, lease_seconds: float) -> Sequence[Due]:
        if self.breaks is not None:
            self.in_vain += 1
            raise self.breaks
        wanted = [turn.queue for turn in sorted(turns, key=lambda turn: turn.lane)]
        return self._lease([row for queue in wanted for row in self.rows if row.queue == queue][:size])

    def _lease(self, taken: Sequence[Due]) -> Sequence[Due]:
        self.rows = [row for row in self.rows if row not in taken]
        self.leased += taken
        return taken

    async def publish(self, messages: Sequence[Message]) -> None:
        queues = [message.queue for message in messages]
        if BULK in queues:
            self.free -= 1
            if self.free < 0:
                self.held = True
                await self.gate.wait()
        elif self.refuses:
            self.refuses = False
            raise BrokerUnavailable("not now")
        elif self.slow:
            self.slowed = True
            await self.high_gate.wait()
        self.published += queues

    async def settle(self, sent: Sequence[Due], at: datetime) -> None:
        self.leased = [row for row in self.leased if row not in sent]

    async def give_back(self, unsent: Sequence[Due], *, rest_seconds: float, maybe_sent: bool) -> None:
        self.leased = [row for row in self.leased if row not in unsent]
        self.rows += unsent

    @property
    def empty(self) -> bool:
        return not self.rows and not self.leased


@pytest.fixture
async def backlog() -> AsyncIterator[Backlog]:
    """Twelve of the bulk lane and a relay that takes five at once; its second bite waits for the gate."""
    backlog = Backlog(*[BULK] * 12)
    backlog.relaying = asyncio.ensure_future(relay(Relaying(backlog, backlog, asyncio.Event(), no_bound(), size=5)))
    try:
        yield backlog
    finally:
        backlog.gate.set()
        backlog.high_gate.set()
        backlog.relaying.cancel()
        await asyncio.wait([backlog.relaying], timeout=5)


async def test_what_is_urgent_does_not_wait_for_the_end_of_a_round_of_a_backlog(backlog: Backlog) -> None:
    await eventually(lambda: backlog.held)

    for count in (1, 2):
        backlog.add(HIGH)
        await eventually(lambda: backlog.published.count(HIGH) == count)  # noqa: B023 - awaited in this turn
    assert backlog.published == [*[BULK] * 5, HIGH, HIGH]
    await eventually(lambda: len(backlog.leased) == 5)

    backlog.gate.set()
    await eventually(lambda: backlog.empty)
    assert (backlog.published.count(HIGH), backlog.published.count(BULK)) == (2, 12)


async def test_a_slow_queue_of_the_high_lane_holds_up_no_round(backlog: Backlog) -> None:
    await eventually(lambda: backlog.held)

    backlog.slow = True
    backlog.add(HIGH)
    await eventually(lambda: backlog.slowed)
    backlog.gate.set()

    await eventually(lambda: backlog.published.count(BULK) == 12)
    assert HIGH not in backlog.published
    backlog.high_gate.set()
    await eventually(lambda: backlog.empty)
    assert (backlog.published.count(HIGH), backlog.published.count(BULK)) == (1, 12)


@pytest.mark.parametrize("met", [Unavailable("The database is away."), KeyError("of ours")], ids=["trouble", "error"])
async def test_trouble_beside_a_round_costs_neither_the_round_nor_what_is_urgent_and_is_told(
    backlog: Backlog, met: Exception
) -> None:
    await eventually(lambda: backlog.held)

    with capture_logs() as logs:
        backlog.breaks = met
        backlog.add(HIGH)
        await eventually(lambda: backlog.in_vain == 1)
        backlog.breaks = None
        backlog.gate.set()
        await eventually(lambda: backlog.empty)

    assert (backlog.published.count(HIGH), backlog.published.count(BULK)) == (1, 12)
    reason = "The database is away." if isinstance(met, Unavailable) else "KeyError"
    assert [line["reason"] for line in logs if line["event"] == "relay_waits"] == [reason]


async def test_what_the_broker_refuses_beside_a_round_goes_with_the_next_one_after_a_pause(backlog: Backlog) -> None:
    await eventually(lambda: backlog.held)

    with capture_logs() as logs:
        backlog.refuses = True
        backlog.add(HIGH)
        await eventually(lambda: not backlog.refuses)
        backlog.gate.set()
        await eventually(lambda: backlog.empty)

    assert (backlog.published.count(HIGH), backlog.published.count(BULK)) == (1, 12)
    assert [line["reason"] for line in logs if line["event"] == "relay_waits"] == ["not now"]


async def test_a_stop_lets_what_goes_beside_the_round_finish_as_well(backlog: Backlog) -> None:
    await eventually(lambda: backlog.held)
    backlog.slow = True
    backlog.add(HIGH)
    await eventually(lambda: backlog.slowed)

    backlog.relaying.cancel()
    backlog.gate.set()
    await eventually(lambda: backlog.published.count(BULK) == 10)
    backlog.high_gate.set()
    await asyncio.wait([backlog.relaying], timeout=5)

    assert backlog.relaying.cancelled()
    assert (backlog.published[-1], backlog.leased, len(backlog.rows)) == (HIGH, [], 2)


async def test_within_a_bite_the_high_lane_goes_first_whatever_the_database_answered_first() -> None:
    backlog = Backlog(BULK, "email.queue", HIGH, BULK, "push.high.queue", free=9)

    await relay_once(Relaying(backlog, backlog, asyncio.Event(), no_bound(), size=5))

    assert backlog.published == [HIGH, "push.high.queue", "email.queue", BULK, BULK]
    assert backlog.empty
