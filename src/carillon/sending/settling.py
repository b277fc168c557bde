"""Asking what became of many notifications: the oldest first, and not over and over while nothing moves."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Protocol
from uuid import UUID

from carillon.contracts.notifications import Notification
from carillon.sdk.client import Unreachable
from carillon.sending.together import together

A_ROUND = 500
_SHORTEST, _LONGEST = 0.1, 2.0
_FINAL = frozenset({"delivered", "suppressed", "failed", "cancelled", "expired"})


class Asked(Protocol):
    """Who knows of notifications."""

    async def notification(self, notification_id: UUID) -> Notification: ...


async def settle(ids: Iterable[UUID], asked: Asked, *, seconds: float, ended: Callable[[Notification], None]) -> int:
    """Tell `ended` of each that has; after `seconds` the number of those that have not. Absence is waited out.

    A round asks 500; those still on the way go to the back, and a rest follows where they are most of the round.
    """
    waiting = dict.fromkeys(sorted(ids))
    deadline = asyncio.get_running_loop().time() + seconds
    rest = _SHORTEST
    while waiting and asyncio.get_running_loop().time() < deadline:
        round_of = list(islice(waiting, A_ROUND))
        with contextlib.suppress(Unreachable, TimeoutError):
            async with asyncio.timeout_at(deadline):
                await _ask(round_of, asked, waiting, ended)
        still = [notification_id for notification_id in round_of if notification_id in waiting]
        for notification_id in still:
            waiting[notification_id] = waiting.pop(notification_id)
        if len(still) * 2 < len(round_of):
            rest = _SHORTEST
        else:
            await asyncio.sleep(rest)
            rest = min(rest * 1.5, _LONGEST)
    return len(waiting)


async def _ask(
    ids: Iterable[UUID], asked: Asked, waiting: dict[UUID, None], ended: Callable[[Notification], None]
) -> None:
    left = iter(ids)

    async def work() -> None:
        for notification_id in left:
            found = await asked.notification(notification_id)
            if found.status in _FINAL:
                del waiting[notification_id]
                ended(found)

    await together(work)
