"""Waiting for a condition with a deadline: the only way a test lets time pass."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

T = TypeVar("T")


async def eventually(
    condition: Callable[[], T | Awaitable[T]], *, within: float = 10.0, every: float = 0.02, says: str = ""
) -> T:
    """Return the first truthy value of `condition` (sync or async); AssertionError with the last value otherwise."""
    deadline = time.monotonic() + within
    while True:
        answer = condition()
        value = await asyncio.wait_for(answer, within) if inspect.isawaitable(answer) else answer
        if value:
            return cast(T, value)
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {within} s: {says or condition!r}; last value {value!r}")
        await asyncio.sleep(every)
