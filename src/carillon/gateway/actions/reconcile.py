"""Reconcile: what has fallen silent is queued anew, or ends with the reason; every replica may do so at once."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

import structlog

from carillon.gateway.actions.replay import Replaying, revive
from carillon.gateway.watching import Bounds, GivenUp, QueuedAnew, Verdict, Watched, judge, passing
from carillon.kit.broker.port import BrokerError, QueueDepth
from carillon.kit.errors import Unavailable
from carillon.kit.telemetry.metrics import RECONCILED

_log = structlog.get_logger()


class WatchStore(Protocol):
    async def now(self) -> datetime:
        """The database's clock."""
        ...

    async def pass_over(self, mark: str, until: datetime, *, limit: int) -> int:
        """Read on from the mark, watch what has not ended; answers how many were read."""
        ...

    async def passed_on(self, now: datetime) -> Mapping[str, datetime]:
        """Of each queue, a moment before which everything that was put there has left it, as what has arrived shows."""
        ...

    async def look(
        self, limit: int, decide: Callable[[Watched, datetime], Verdict]
    ) -> Sequence[tuple[Watched, Verdict]]:
        """Decide about those whose time has come, and do it, committed."""
        ...


class Queues(Protocol):
    async def depths(self) -> Mapping[str, QueueDepth]: ...


@dataclass(slots=True)
class Reconciling:
    """What it takes; `grew` wakes the relay. `passed`: what is known of the queues by now; `after`: which of
    the dead letters was looked at last."""

    store: WatchStore
    queues: Queues
    letters: Replaying
    grew: asyncio.Event
    bounds: Bounds
    every: float
    size: int = 1_000
    passed: Mapping[str, datetime] = field(default_factory=dict)
    after: UUID | None = None


async def keep_reconciled(reconciling: Reconciling) -> None:
    """Until cancelled; while the database or the broker is away nothing is decided."""
    while True:
        try:
            await reconcile(reconciling)
        except (Unavailable, BrokerError) as error:
            _log.warning("reconciler_waits", reason=type(error).__name__)
        await asyncio.sleep(reconciling.every)


async def reconcile(reconciling: Reconciling) -> None:
    """One round. Raises Unavailable and BrokerError; what was committed before stays."""
    now = await reconciling.store.now()
    depths, arrived = await reconciling.queues.depths(), await reconciling.store.passed_on(now)
    reconciling.passed = passing(reconciling.passed, depths, now, arrived)
    await _pass_over(reconciling, now)
    more = True
    while more:
        judged = await reconciling.store.look(
            reconciling.size, lambda one, at: judge(one, at, reconciling.passed, reconciling.bounds)
        )
        _tell(judged, reconciling)
        more = len(judged) == reconciling.size
    await _revive(reconciling, now)


async def _revive(reconciling: Reconciling, now: datetime) -> None:
    """One piece a round: each letter costs a question to users and to templates."""
    bounds = reconciling.bounds
    revived = await revive(
        reconciling.letters, after=reconciling.after, now=now, rest=bounds.overdue, oldest=bounds.give_up
    )
    reconciling.after = revived.after
    if revived.queued:
        RECONCILED.labels("gateway", "revived").inc(revived.queued)
        _log.warning("dead_letters_revived", letters=revived.queued)


async def _pass_over(reconciling: Reconciling, now: datetime) -> None:
    """Twice: by then what a clock that is slow, or a commit that took long, had hidden the first time is there."""
    first = reconciling.bounds.overdue
    for mark, age in (("first", first), ("second", max(reconciling.bounds.second, first))):
        until = now - timedelta(seconds=age)
        while await reconciling.store.pass_over(mark, until, limit=reconciling.size) == reconciling.size:
            pass


def _tell(judged: Sequence[tuple[Watched, Verdict]], reconciling: Reconciling) -> None:
    done = Counter(_word(verdict) for _, verdict in judged if isinstance(verdict, QueuedAnew | GivenUp))
    if not done:
        return
    for word, count in done.items():
        RECONCILED.labels("gateway", word).inc(count)
    if done["requeued"]:
        reconciling.grew.set()
    some = [str(one.notification_id) for one, verdict in judged if isinstance(verdict, QueuedAnew | GivenUp)][:5]
    _log.warning("notifications_reconciled", **done, some=some)


def _word(verdict: QueuedAnew | GivenUp) -> str:
    return "requeued" if isinstance(verdict, QueuedAnew) else verdict.status
