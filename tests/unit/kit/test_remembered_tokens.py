"""Tokens remembered: one verification for all who ask at once, none that outlives a revocation or the token's end."""

import asyncio
from collections.abc import Callable

import pytest

from carillon.kit.auth import Caller
from carillon.kit.errors import Unauthenticated, Unavailable
from carillon.kit.ids import uuid7
from carillon.kit.remembered_tokens import RememberedTokens
from tests.support.waiting import eventually

OWNER = uuid7()


class Verifier:
    """Knows every token but `bad`; may be held until told to go on, or be away."""

    def __init__(self) -> None:
        self.asked = 0
        self.away = False
        self.permissions = frozenset({"bells:ring"})
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, token: str) -> Caller:
        self.asked += 1
        permissions = self.permissions
        await self.open.wait()
        if self.away:
            raise Unavailable("nobody can tell")
        if token == "bad":
            raise Unauthenticated
        return Caller(OWNER, "user", permissions, expires_at=100)


def remembered(
    verifier: Verifier, *, seconds: float = 60, stale_seconds: float = 0, clock: Callable[[], float] = lambda: 0.0
) -> RememberedTokens:
    return RememberedTokens(
        verifier, service="bells", seconds=seconds, stale_seconds=stale_seconds, capacity=3, clock=clock
    )


async def test_a_thousand_requests_with_one_cold_token_cost_one_verification() -> None:
    verifier = Verifier()
    tokens = remembered(verifier)

    async with asyncio.timeout(10):
        callers = await asyncio.gather(*(tokens("good") for _ in range(1000)))

    assert {caller.caller_id for caller in callers} == {OWNER}
    assert verifier.asked == 1


async def test_a_verification_under_way_when_everything_is_forgotten_is_made_again() -> None:
    verifier = Verifier()
    tokens = remembered(verifier)
    verifier.open.clear()
    asking = asyncio.create_task(tokens("good"))
    await eventually(lambda: verifier.asked == 1)

    verifier.permissions = frozenset()
    tokens.forget()
    verifier.open.set()

    assert (await asking).permissions == frozenset()
    assert (await tokens("good")).permissions == frozenset()


async def test_forgetting_has_a_token_verified_again() -> None:
    verifier = Verifier()
    tokens = remembered(verifier)
    await tokens("good")
    await tokens("good")
    tokens.forget()
    await tokens("good")
    assert verifier.asked == 2


async def test_a_refused_token_is_verified_every_time() -> None:
    verifier = Verifier()
    tokens = remembered(verifier)
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            await tokens("bad")
    assert (verifier.asked, len(tokens)) == (2, 0)


async def test_no_more_than_its_capacity_is_remembered() -> None:
    tokens = remembered(Verifier())
    for number in range(10):
        await tokens(f"good {number}")
    assert len(tokens) == 3


async def test_a_remembered_token_ends_with_its_own_time() -> None:
    now = 99.0
    verifier = Verifier()
    tokens = remembered(verifier, clock=lambda: now)
    await tokens("good")

    now = 100.0
    with pytest.raises(Unauthenticated):
        await tokens("good")
    assert verifier.asked == 1


async def test_while_nobody_can_tell_a_token_lives_on_as_far_as_it_may_be_stale() -> None:
    verifier = Verifier()
    lenient, strict = remembered(verifier, seconds=0, stale_seconds=60), remembered(verifier, seconds=0)
    await lenient("good")
    await strict("good")
    verifier.away = True

    assert (await lenient("good")).caller_id == OWNER
    with pytest.raises(Unavailable):
        await lenient("never seen")
    with pytest.raises(Unavailable):
        await strict("good")


async def test_forgetting_a_caller_has_their_tokens_verified_again_and_nobody_elses() -> None:
    verifier = Verifier()
    tokens = remembered(verifier)
    await tokens("one")
    await tokens("two")

    tokens.forget_caller(uuid7())
    await tokens("one")
    assert verifier.asked == 2

    tokens.forget_caller(OWNER)
    await tokens("one")
    await tokens("two")
    assert verifier.asked == 4


async def test_a_verification_under_way_when_its_caller_is_forgotten_is_made_again() -> None:
    verifier = Verifier()
    tokens = remembered(verifier)
    verifier.open.clear()
    asking = asyncio.create_task(tokens("good"))
    await eventually(lambda: verifier.asked == 1)

    verifier.permissions = frozenset()
    tokens.forget_caller(OWNER)
    verifier.open.set()

    assert (await asking).permissions == frozenset()
    assert (await tokens("good")).permissions == frozenset()
    assert verifier.asked == 2


async def test_what_is_known_of_callers_is_bounded_too() -> None:
    tokens = remembered(Verifier())
    for number in range(100):
        await tokens(f"good {number}")
        tokens.forget_caller(uuid7())

    tokens.forget_caller(OWNER)

    assert len(tokens) == 0
