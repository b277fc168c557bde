"""A few workers on one pile of work."""

import asyncio
from collections.abc import Callable, Coroutine

_AT_ONCE = 16


async def together(work: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run `work` sixteen times at once; the first failure ends all of them and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(work())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
