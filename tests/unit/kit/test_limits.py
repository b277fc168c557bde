"""Limits: never more than the burst and the rate allow, shared in Redis, and never open because Redis is gone."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.kit.errors import TooManyRequests
from carillon.kit.limits import (
    STRICT_SHARE,
    UNLIMITED,
    WINDOW,
    Allowed,
    Limits,
    ProcessLimits,
    RedisLimits,
    Refused,
    arrive,
    enforced,
    headers,
    redis_limits,
)
from tests.support.servers import RedisServer
from tests.support.waiting import eventually


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


async def allowed(limits: Limits, key: str, per_minute: int, *, times: int, strict: bool = False) -> int:
    verdicts = [await limits.check(key, per_minute, strict=strict) for _ in range(times)]
    return sum(isinstance(verdict, Allowed) for verdict in verdicts)


@given(
    per_minute=st.integers(1, 500),
    gaps=st.lists(st.floats(0, 90, allow_nan=False), max_size=200),
)
def test_no_minute_sees_more_than_a_burst_and_what_the_rate_adds(per_minute: int, gaps: list[float]) -> None:
    busy_until, now, passed = 0.0, 1_000.0, list[float]()
    for gap in gaps:
        now += gap
        verdict, busy_until = arrive(busy_until, now, per_minute)
        if isinstance(verdict, Allowed):
            passed.append(now)

    for start in passed:
        within = [at for at in passed if start <= at < start + WINDOW]
        assert len(within) <= 2 * per_minute


@given(per_minute=st.integers(1, 500), asked=st.integers(0, 1_000))
def test_a_quiet_key_gets_exactly_its_limit_at_once(per_minute: int, asked: int) -> None:
    busy_until, passed = 0.0, 0
    for _ in range(asked):
        verdict, busy_until = arrive(busy_until, 5_000.0, per_minute)
        if isinstance(verdict, Allowed):
            passed += 1
            assert verdict.remaining == per_minute - passed

    assert passed == min(asked, per_minute)


@given(per_minute=st.integers(1, 500), asked=st.integers(1, 600))
def test_one_who_waits_as_told_is_let_in(per_minute: int, asked: int) -> None:
    busy_until, now = 0.0, 77.0
    for _ in range(asked):
        verdict, busy_until = arrive(busy_until, now, per_minute)
        if isinstance(verdict, Refused):
            assert 0 < verdict.retry_after <= WINDOW
            now += verdict.retry_after
            verdict, busy_until = arrive(busy_until, now, per_minute)
            assert isinstance(verdict, Allowed)


async def test_keys_do_not_share_a_limit_and_time_gives_it_back() -> None:
    clock = Clock()
    limits = ProcessLimits(clock=clock)

    assert await allowed(limits, "a", 6, times=10) == 6
    assert await allowed(limits, "b", 6, times=10) == 6
    clock.now += 20
    assert await allowed(limits, "a", 6, times=10) == 2
    clock.now += 3600
    assert await allowed(limits, "a", 6, times=10) == 6


async def test_zero_means_unlimited_and_keeps_no_count() -> None:
    limits = ProcessLimits()

    assert [await limits.check("a", 0) for _ in range(100)] == [UNLIMITED] * 100

    assert headers("logins", UNLIMITED) == {}
    assert len(limits) == 0


async def test_what_is_forgiven_may_come_again() -> None:
    limits = ProcessLimits(clock=Clock())
    assert await allowed(limits, "a", 3, times=5) == 3

    await limits.forgive("a", 3)

    assert await allowed(limits, "a", 3, times=5) == 1
    await limits.forgive("unheard of", 3)


async def test_the_counts_are_bounded_and_the_quietest_key_leaves() -> None:
    limits = ProcessLimits(capacity=10, clock=Clock())
    assert await allowed(limits, "busy", 1, times=1) == 1

    for number in range(100):
        await limits.check(f"key-{number}", 5)
        assert await allowed(limits, "busy", 1, times=1) == 0, "a key that keeps asking is not forgotten"

    assert len(limits) == 10


def test_a_refusal_becomes_a_429_that_says_when_to_come_again() -> None:
    with pytest.raises(TooManyRequests) as refusal:
        enforced("logins", Refused(60, 0.4))

    assert refusal.value.status == 429
    assert refusal.value.headers["Retry-After"] == "1"
    assert refusal.value.headers["RateLimit"] == '"logins";r=0;t=1'
    assert refusal.value.headers["RateLimit-Policy"] == '"logins";q=60;w=60'
    assert enforced("logins", Allowed(60, 41, 18.2))["RateLimit"] == '"logins";r=41;t=19'


@pytest.fixture
async def shared(redis_server: RedisServer, request: pytest.FixtureRequest) -> AsyncIterator[list[RedisLimits]]:
    """Two processes' worth, of a prefix that no other test uses."""
    prefix = f"{request.node.name}:"
    async with (
        redis_limits(redis_server.url, prefix=prefix, seconds=20) as one,
        redis_limits(redis_server.url, prefix=prefix, seconds=20) as two,
    ):
        yield [one, two]


@pytest.fixture
def gone(redis_server: RedisServer) -> Iterator[RedisServer]:
    """A server that a test may stop; it runs again afterwards."""
    yield redis_server
    redis_server.restart()


async def test_processes_share_one_count_in_redis(shared: list[RedisLimits]) -> None:
    one, two = shared

    verdicts = await asyncio.gather(*(limits.check("a", 20) for limits in (one, two) for _ in range(30)))

    assert sum(isinstance(verdict, Allowed) for verdict in verdicts) == 20
    refused = next(verdict for verdict in verdicts if isinstance(verdict, Refused))
    assert 0 < refused.retry_after <= 3
    assert await one.check("b", 0) == UNLIMITED


async def test_redis_gives_the_same_verdicts_as_the_process(shared: list[RedisLimits]) -> None:
    alone = ProcessLimits()

    for per_minute in (1, 7, 60):
        key = f"rate-{per_minute}"
        for _ in range(per_minute + 2):
            ours, theirs = await alone.check(key, per_minute), await shared[0].check(key, per_minute)
            assert type(ours) is type(theirs)
            assert ours.limit == theirs.limit
            if isinstance(ours, Allowed) and isinstance(theirs, Allowed):
                assert abs(ours.remaining - theirs.remaining) <= 1


async def test_what_one_process_forgives_another_lets_in(shared: list[RedisLimits]) -> None:
    one, two = shared
    assert await allowed(one, "a", 3, times=5) == 3

    await two.forgive("a", 3)

    assert await allowed(one, "a", 3, times=5) == 1


async def test_without_redis_each_process_counts_alone_and_strict_limits_are_cut(
    shared: list[RedisLimits], gone: RedisServer
) -> None:
    one, two = shared
    assert await allowed(one, "before", 8, times=1) == 1

    gone.kill()

    assert await allowed(one, "general", 8, times=20) == 8
    assert await allowed(two, "general", 8, times=20) == 8
    assert await allowed(one, "login", 8, times=20, strict=True) == 8 // STRICT_SHARE
    assert await allowed(one, "rare", 2, times=20, strict=True) == 1
    await one.forgive("login", 8, strict=True)
    assert await allowed(one, "login", 8, times=20, strict=True) == 1


async def test_the_shared_count_is_used_again_when_redis_is_back(shared: list[RedisLimits], gone: RedisServer) -> None:
    one, two = shared
    gone.kill()
    assert await allowed(one, "a", 5, times=10) == 5

    gone.start()

    keys = itertools.count()

    async def shares() -> bool:
        key = f"fresh-{next(keys)}"
        await one.check(key, 1)
        return isinstance(await two.check(key, 1), Refused)

    await eventually(shares, within=15, every=0.1)
    assert await allowed(one, "c", 5, times=3) + await allowed(two, "c", 5, times=10) == 5
