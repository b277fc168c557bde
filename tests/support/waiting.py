"""Waiting for a condition with a deadline: the only way a test lets time pass."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")


@overload
async def eventually(
    condition: Callable[[], Awaitable[T]], *, within: float = 30.0, every: float = 0.02, says: str = ""
) -> Any: ...


@overload
async def eventually(condition: Callable[[], T], *, within: float = 30.0, every: float = 0.02, says: str = "") -> T: ...


async def eventually(condition: Callable[[], Any], *, within: float = 30.0, every: float = 0.02, says: str = "") -> Any:
    """Return the first truthy value of `condition` (sync or async); AssertionError with the last value otherwise."""
    deadline = time.monotonic() + within
    while True:
        answer = condition()
        value = await asyncio.wait_for(answer, within) if inspect.isawaitable(answer) else answer
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {within} s: {says or condition!r}; last value {value!r}")
        await asyncio.sleep(every)
