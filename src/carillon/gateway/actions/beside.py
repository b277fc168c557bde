"""Beside: the round of a relay that is in hand, and what is done beside it until it ends; a stop lets both finish."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

import structlog

_log = structlog.get_logger()

T = TypeVar("T")
_EVERY = 0.02


class Beside(Generic[T]):
    """At most one round and one look of `look` at a time. `look` answers its trouble, and looks no more then.

    A look that takes longer than its round holds up no round, and no error of it ends one.
    """

    def __init__(self, look: Callable[[], Awaitable[str | None]]) -> None:
        self._look = look
        self._round: asyncio.Task[T] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._trouble: str | None = None

    @property
    def looks(self) -> bool:
        """Whether somebody looks, or will before the round ends."""
        return self._looking is not None and not self._looking.done()

    async def go(self, work: Coroutine[Any, Any, T], *, beside: bool) -> T:
        """The round's result; a cancellation reaches the caller and not the round."""
        self._round = asyncio.create_task(work)
        if beside and not self.looks and not await _ended(self._round):
            self._looking = asyncio.create_task(self._keep_looking())
        return await asyncio.shield(self._round)

    def told(self) -> str | None:
        """The trouble of those that looked since this was asked last."""
        trouble, self._trouble = self._trouble, None
        return trouble

    async def drain(self, seconds: float) -> None:
        """Let what is in hand finish, within bounds."""
        left = [task for task in (self._round, self._looking) if task is not None and not task.done()]
        if not left:
            return
        try:
            await asyncio.wait(left, timeout=seconds)
        finally:  # a second cancellation leaves nobody at work either
            for task in left:
                task.cancel()
        for result in await asyncio.gather(*left, return_exceptions=True):
            if isinstance(result, Exception):
                _log.warning("relay_round_failed", error=type(result).__name__)

    async def _keep_looking(self) -> None:
        try:
            while (trouble := await self._look()) is None:
                if self._round is None or await _ended(self._round):
                    return
        except Exception as error:  # noqa: BLE001 - whatever it is, the round has nothing to do with it
            trouble = type(error).__name__
            _log.error("relay_look_failed", error=trouble)
        self._trouble = trouble


async def _ended(task: asyncio.Task[Any]) -> bool:
    """Whether it does within a moment."""
    return bool((await asyncio.wait([task], timeout=_EVERY))[0])
