"""Places at providers: bounded, a fifth for the high lane, shared by weight, nothing lost to those who leave."""

import asyncio
import contextlib
from collections import Counter
from typing import Self

import pytest

from carillon.contracts.channels import Lane
from carillon.delivery.pool import ANY, NoPlace, Pool
from carillon.delivery.ports import Terms
from tests.support.waiting import eventually
from tests.unit.delivery.providers import fleet, pool_of


class Holders:
    """Tasks that hold a place until told to let go."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.holding: list[Lane] = []
        self.names: list[str] = []
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
        async with self.pool.place(lane, seconds=60) as route:
            self.holding.append(lane)
            self.names.append(route.name)
            with contextlib.suppress(asyncio.CancelledError):
                await gate.wait()
            self.holding.remove(lane)


async def test_a_broadcast_cannot_take_the_fifth_that_is_kept_for_the_high_lane() -> None:
    async with Holders(pool_of(total=10, one=Terms())) as holders:
        holders.want("bulk", 20)
        await eventually(lambda: len(holders.holding) == 8)

        holders.want("high", 3)
        await eventually(lambda: len(holders.holding) == 10)
        assert holders.holding.count("high") == 2


async def test_the_high_lane_may_use_every_place_and_comes_first_when_one_is_free() -> None:
    async with Holders(pool_of(total=5, one=Terms())) as holders:
        holders.want("high", 5)
        await eventually(lambda: holders.holding.count("high") == 5)
        holders.want("normal", 2)
        holders.want("high", 2)
        await asyncio.sleep(0)
        for gate in holders.gates[:2]:
            gate.set()
        await eventually(lambda: len(holders.holding) == 5)
        assert holders.holding.count("high") == 5


async def test_a_single_place_serves_every_lane() -> None:
    pool = pool_of(total=1, one=Terms())
    for lane in ("high", "normal", "bulk"):
        async with pool.place(lane, seconds=1):
            pass


async def test_who_waits_too_long_is_told_and_takes_nothing_along() -> None:
    pool = pool_of(total=2, one=Terms())
    async with pool.place("normal", seconds=1):
        with pytest.raises(NoPlace):
            async with pool.place("normal", seconds=0.01):
                pass
        async with pool.place("high", seconds=1):
            pass
    async with pool.place("normal", seconds=1):
        pass


async def test_who_is_cancelled_in_the_moment_of_its_turn_hands_the_place_on() -> None:
    pool = pool_of(total=1, one=Terms())

    async def briefly() -> None:
        async with pool.place("normal", seconds=5):
            pass

    async with pool.place("normal", seconds=1):
        waiting = asyncio.create_task(briefly())
        await asyncio.sleep(0)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting

    async with pool.place("normal", seconds=1):
        pass


async def taken(pool: Pool, times: int, lane: Lane = "normal") -> Counter[str]:
    """Who took them, one after the other."""
    found = Counter[str]()
    for _ in range(times):
        async with pool.place(lane, seconds=1) as route:
            found[route.name] += 1
    return found


async def test_providers_share_by_weight() -> None:
    pool = pool_of(small=Terms(weight=1), large=Terms(weight=3), largest=Terms(weight=6))

    assert await taken(pool, 1000) == {"small": 100, "large": 300, "largest": 600}
    assert await taken(pool, 10) == {"small": 1, "large": 3, "largest": 6}, "no runs: every ten are shared so"


async def test_while_one_is_away_the_others_share_what_is_there_and_afterwards_it_has_its_share_again() -> None:
    all_three = fleet(one=Terms(weight=2), two=Terms(weight=1), three=Terms(weight=1))
    pool = all_three.pool
    all_three.break_down("one")
    assert await taken(pool, 100) == {"two": 50, "three": 50}

    all_three.clock.now = 5.0
    probing = pool.admit()
    assert not isinstance(probing, float)
    async with pool.place("normal", probing, seconds=1) as route:
        await route.send("x", seconds=1, probe=True)
    assert route.name == "one"
    found = await taken(pool, 100)
    assert abs(found["one"] - 50) <= 2


async def test_a_reserve_takes_messages_only_while_all_others_are_away_and_reserves_in_their_order() -> None:
    found = fleet(first=Terms(weight=0), second=Terms(weight=0), main=Terms())
    assert await taken(found.pool, 10) == {"main": 10}

    found.break_down("main")
    assert await taken(found.pool, 10) == {"first": 10}
    found.break_down("first")
    assert await taken(found.pool, 10) == {"second": 10}


async def test_a_provider_gets_no_more_at_once_than_its_own_limit_and_the_rest_goes_elsewhere() -> None:
    pool = pool_of(total=20, narrow=Terms(connections=5, weight=100), wide=Terms())
    async with Holders(pool) as holders:
        holders.want("bulk", 30)
        await eventually(lambda: len(holders.holding) == 16)
        assert Counter(holders.names) == {"narrow": 4, "wide": 12}

        holders.want("high", 4)
        await eventually(lambda: len(holders.holding) == 20)
        assert Counter(holders.names) == {"narrow": 5, "wide": 15}


async def test_a_rate_lets_so_many_pass_a_second_and_no_burst_beyond_a_tenth_of_it() -> None:
    found, passed = fleet(one=Terms(rate=50)), 0
    for tick in range(200):
        found.clock.now = tick / 100
        for _ in range(10):
            with contextlib.suppress(NoPlace):
                async with found.pool.place("normal", seconds=0):
                    passed += 1

    assert 100 <= passed <= 105


async def test_what_one_provider_may_not_have_yet_another_takes() -> None:
    pool = pool_of(slow=Terms(rate=1), quick=Terms())

    assert await taken(pool, 10) == {"slow": 1, "quick": 9}


async def test_who_waits_for_a_rate_goes_on_when_the_next_token_comes_the_high_lane_first() -> None:
    found = fleet(one=Terms(rate=20))
    await taken(found.pool, 2)
    async with Holders(found.pool) as holders:
        holders.want("bulk", 2)
        await asyncio.sleep(0)
        holders.want("high")
        await asyncio.sleep(0)
        assert holders.holding == []

        found.clock.now += 0.05
        await eventually(lambda: holders.holding)
        assert holders.holding == ["high"]
        found.clock.now += 0.1
        await eventually(lambda: len(holders.holding) == 3)


async def test_when_the_last_provider_goes_away_who_waits_is_told_at_once_and_when_to_come_again() -> None:
    found = fleet(total=1, one=Terms())
    async with found.pool.place("normal", seconds=1):
        waiting = asyncio.create_task(taken(found.pool, 1))
        await asyncio.sleep(0)
        found.break_down("one")

    with pytest.raises(NoPlace) as none:
        await waiting
    assert (none.value.reason, none.value.seconds) == ("provider_away", 5.0)
    assert found.pool.admit() == 5.0


async def test_one_message_alone_probes_a_provider_that_was_away_while_the_others_go_elsewhere() -> None:
    found = fleet(one=Terms(), two=Terms())
    pool = found.pool
    found.break_down("one")
    assert pool.admit() is ANY
    found.clock.now = 5.0

    probing, other = pool.admit(), pool.admit()

    assert not isinstance(probing, float)
    assert other is ANY
    async with pool.place("bulk", probing, seconds=1) as route, pool.place("bulk", seconds=1) as elsewhere:
        assert (route.name, elsewhere.name) == ("one", "two")
    assert pool.states() == {"one": "half_open", "two": "closed"}


async def test_who_may_have_no_other_provider_blocks_nobody_behind() -> None:
    pool = pool_of(one=Terms(connections=1), two=Terms())
    async with pool.place("normal", seconds=1, without=["two"]) as first:
        assert first.name == "one"
        waiting = asyncio.create_task(only(pool, without="two"))
        await asyncio.sleep(0)
        assert await taken(pool, 3) == {"two": 3}
        assert not waiting.done()
    assert await waiting == "one"


async def only(pool: Pool, *, without: str) -> str:
    async with pool.place("normal", seconds=5, without=[without]) as route:
        return route.name


async def test_who_passed_over_all_providers_there_are_finds_no_place() -> None:
    pool = pool_of(one=Terms())
    with pytest.raises(NoPlace):
        await only(pool, without="one")
    assert await taken(pool, 1) == {"one": 1}
