"""The cache: one fill per key, bounds of age and number, and no fill that outlives an invalidation."""

import asyncio

import pytest

from carillon.kit.cache import Cache
from carillon.kit.telemetry.metrics import rendered
from tests.support.waiting import eventually


class Away(Exception):
    """The other side does not answer."""


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Source:
    """Counts how often it is asked; may be away, and may be held until told to go on."""

    def __init__(self) -> None:
        self.value: str | None = "first"
        self.asked = 0
        self.error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self) -> str | None:
        self.asked += 1
        value, error = self.value, self.error
        await self.open.wait()
        if error is not None:
            raise error
        return value


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def cache(clock: Clock) -> Cache[str, str | None]:
    return Cache(
        service="test", name="things", fresh_seconds=10, stale_seconds=100, capacity=3, away=(Away,), clock=clock
    )


async def test_a_fresh_value_is_answered_without_asking_again(
    cache: Cache[str, str | None], source: Source, clock: Clock
) -> None:
    first = await cache.get("a", source)
    clock.now = 9.9
    second = await cache.get("a", source)

    assert (first.value, first.source) == ("first", "fresh")
    assert (second.value, second.source) == ("first", "cached")
    assert source.asked == 1


async def test_without_asking_only_what_is_fresh_is_told(
    cache: Cache[str, str | None], source: Source, clock: Clock
) -> None:
    unknown = cache.fresh("a")
    await cache.get("a", source)
    clock.now = 9.9
    young = cache.fresh("a")
    clock.now = 10.0
    old = cache.fresh("a")

    assert (unknown, young, old, source.asked) == (None, "first", None, 1)


async def test_what_is_made_of_a_value_is_made_once_and_anew_of_the_next(
    cache: Cache[str, str | None], source: Source, clock: Clock
) -> None:
    made: list[str | None] = []

    def make(value: str | None) -> str:
        made.append(value)
        return f"made of {value}"

    assert cache.made("key", make) is None
    await cache.get("key", source)
    assert [cache.made("key", make) for _ in range(3)] == ["made of first"] * 3
    assert made == ["first"]

    source.value = "second"
    await cache.renew("key", source)
    assert cache.made("key", make) == "made of second"
    clock.now += 1_000
    assert cache.made("key", make) is None
    cache.forget("key")
    assert cache.made("key", make) is None


async def test_every_read_is_counted_where_metrics_are_read(source: Source) -> None:
    cache: Cache[str, str | None] = Cache(service="here", name="counted", fresh_seconds=10)

    await cache.get("key", source)
    cache.fresh("key")
    cache.made("key", str)

    said = rendered().decode()
    assert 'carillon_cache_reads_total{cache="counted",result="fresh",service="here"} 1.0' in said
    assert 'carillon_cache_reads_total{cache="counted",result="cached",service="here"} 2.0' in said


async def test_past_the_fresh_bound_it_is_asked_again(
    cache: Cache[str, str | None], source: Source, clock: Clock
) -> None:
    await cache.get("a", source)
    source.value, clock.now = "second", 10.0

    assert (await cache.get("a", source)).value == "second"


async def test_while_the_other_side_is_away_a_stale_value_serves_up_to_its_bound(
    cache: Cache[str, str | None], source: Source, clock: Clock
) -> None:
    await cache.get("a", source)
    source.error = Away()

    clock.now = 99.0
    assert (await cache.get("a", source)).source == "stale"
    clock.now = 100.0
    with pytest.raises(Away):
        await cache.get("a", source)


async def test_another_failure_than_absence_drops_what_was_remembered(
    cache: Cache[str, str | None], source: Source, clock: Clock
) -> None:
    await cache.get("a", source)
    source.error, clock.now = PermissionError("revoked"), 11.0

    with pytest.raises(PermissionError):
        await cache.get("a", source)
    assert cache.peek("a") is None


async def test_many_callers_of_one_key_share_one_fill(cache: Cache[str, str | None], source: Source) -> None:
    source.open.clear()
    callers = [asyncio.create_task(cache.get("a", source)) for _ in range(20)]
    await asyncio.sleep(0)
    source.open.set()

    assert {found.value for found in await asyncio.gather(*callers)} == {"first"}
    assert source.asked == 1


async def test_a_caller_who_hangs_up_does_not_stop_the_fill_of_the_others(
    cache: Cache[str, str | None], source: Source
) -> None:
    source.open.clear()
    first, second = (asyncio.create_task(cache.get("a", source)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    source.open.set()

    assert (await second).value == "first"
    assert source.asked == 1


@pytest.mark.parametrize("everything", [True, False])
async def test_a_fill_older_than_an_invalidation_is_neither_kept_nor_answered(
    cache: Cache[str, str | None], source: Source, *, everything: bool
) -> None:
    source.open.clear()
    waiting = asyncio.create_task(cache.get("a", source))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert source.asked == 1

    source.value = "second"
    cache.forget_all() if everything else cache.forget("a")
    source.open.set()

    assert (await waiting).value == "second"
    assert cache.peek("a") == "second"


async def test_endless_invalidations_do_not_hold_a_caller_for_ever(cache: Cache[str, str | None]) -> None:
    asked = 0

    async def changes_while_read() -> str:
        nonlocal asked
        asked += 1
        cache.forget("a")
        return "newest"

    async with asyncio.timeout(5):
        assert (await cache.get("a", changes_while_read)).value == "newest"
    assert asked == 3
    assert cache.peek("a") is None


async def test_a_miss_is_not_kept_and_drops_what_was(
    cache: Cache[str, str | None], source: Source, clock: Clock
) -> None:
    await cache.get("a", source)
    source.value, clock.now = None, 11.0

    assert (await cache.get("a", source)).value is None
    assert len(cache) == 0
    await cache.get("a", source)
    assert source.asked == 3


async def test_at_capacity_the_entry_filled_longest_ago_leaves(cache: Cache[str, str | None], source: Source) -> None:
    for key in "abcd":
        await cache.get(key, source)

    assert len(cache) == 3
    assert cache.peek("a") is None
    assert cache.peek("d") == "first"


@pytest.fixture
def soft(clock: Clock) -> Cache[str, str | None]:
    return Cache(
        service="test",
        name="soft",
        fresh_seconds=10,
        soft_seconds=5,
        stale_seconds=100,
        capacity=1_000,
        away=(Away,),
        clock=clock,
    )


async def test_within_the_soft_window_the_old_value_is_answered_at_once_and_one_refill_runs(
    soft: Cache[str, str | None], source: Source, clock: Clock
) -> None:
    await soft.get("a", source)
    source.value, clock.now = "second", 14.9
    source.open.clear()

    answers = [await soft.get("a", source) for _ in range(3)]
    source.open.set()

    assert [(found.value, found.source) for found in answers] == [("first", "cached")] * 3
    assert soft.fresh("a") is None, "without a question only what is fresh is told"
    await eventually(lambda: soft.fresh("a") == "second")
    assert source.asked == 2


async def test_past_the_soft_window_everybody_waits_for_the_new_value(
    soft: Cache[str, str | None], source: Source, clock: Clock
) -> None:
    await soft.get("a", source)
    source.value, clock.now = "second", 15.0

    assert (await soft.get("a", source)).value == "second"


async def test_a_refill_that_meets_an_absence_keeps_the_old_value_for_the_stale_bound(
    soft: Cache[str, str | None], source: Source, clock: Clock
) -> None:
    await soft.get("a", source)
    source.error, clock.now = Away(), 12.0

    assert (await soft.get("a", source)).source == "cached"
    await eventually(lambda: source.asked == 2)
    clock.now = 16.0
    assert (await soft.get("a", source)).source == "stale"


async def test_a_value_is_as_old_as_its_question_not_as_its_answer(
    soft: Cache[str, str | None], source: Source, clock: Clock
) -> None:
    source.open.clear()
    waiting = asyncio.create_task(soft.get("a", source))
    await eventually(lambda: source.asked == 1)
    clock.now = 9.0
    source.open.set()
    await waiting

    assert soft.fresh("a") == "first"
    clock.now = 10.0
    assert soft.fresh("a") is None


async def test_with_jitter_what_was_filled_together_expires_one_by_one_and_never_late(
    source: Source, clock: Clock
) -> None:
    cache: Cache[int, str | None] = Cache(
        service="test", name="jittered", fresh_seconds=10, jitter=0.5, capacity=1_000, clock=clock
    )
    for key in range(1_000):
        await cache.get(key, source)

    def young(now: float) -> int:
        clock.now = now
        return sum(cache.fresh(key) is not None for key in range(1_000))

    assert young(4.9) == 1_000
    assert 200 < young(7.5) < 800
    assert young(10.0) == 0


async def test_while_nobody_tells_of_changes_a_value_lives_for_a_second_and_is_not_answered_beyond(
    soft: Cache[str, str | None], source: Source, clock: Clock
) -> None:
    await soft.get("a", source)
    clock.now = 0.9
    soft.link_down()

    assert soft.fresh("a") == "first"
    clock.now, source.value = 1.0, "second"
    assert soft.fresh("a") is None
    assert (await soft.get("a", source)).value == "second"
    clock.now, source.error = 2.5, Away()
    assert (await soft.get("a", source)).source == "stale"


async def test_whoever_stood_still_past_the_good_word_does_not_go_by_memory_before_the_next(
    soft: Cache[str, str | None], source: Source, clock: Clock
) -> None:
    await soft.get("a", source)
    soft.link_good(2)
    clock.now = 1.9
    assert soft.fresh("a") == "first"

    clock.now, source.value = 2.0, "second"  # nobody has told that the link is lost: this process was stopped
    assert soft.fresh("a") is None

    soft.link_good(2)
    assert soft.fresh("a") == "first", "none was missed"


async def test_while_the_other_side_hangs_what_is_remembered_is_answered_soon_and_the_question_goes_on(
    soft: Cache[str, str | None], source: Source, clock: Clock
) -> None:
    await soft.get("a", source)
    clock.now, source.value = 25.0, "second"
    source.open.clear()

    assert (await soft.get("a", source)).source == "stale"

    source.open.set()
    await eventually(lambda: soft.peek("a") == "second")
    assert source.asked == 2


async def test_when_changes_are_told_of_again_nothing_of_before_is_believed(
    soft: Cache[str, str | None], source: Source, clock: Clock
) -> None:
    await soft.get("a", source)
    soft.link_down()
    source.open.clear()
    waiting = asyncio.create_task(soft.get("b", source))
    await eventually(lambda: source.asked == 2)

    soft.link_up()
    source.value = "second"
    source.open.set()

    assert soft.peek("a") is None
    assert (await waiting).value == "second", "nor a fill that began before"
    clock.now = 9.9
    assert soft.fresh("b") == "second", "and values live as long as ever"
