"""Tally: what was accepted and what became of it, minute by minute, counted where it is committed; no table is read."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from carillon.contracts.messages import DeliveryReported, Step
from carillon.contracts.stats import MinuteCount, QueueFigures, Stats
from carillon.gateway.actions.measure import Backlog
from carillon.gateway.actions.ports import AcceptanceStore, ReportStore
from carillon.gateway.domain import Acceptance, Standing
from carillon.gateway.errors import RequestIdSpent
from carillon.gateway.watching import Wait
from carillon.kit.telemetry.metrics import NOTIFICATIONS, Tally

_KEPT = 60
_MINUTE = 60
_TOLD = ("accepted", "delivered", "failed", "suppressed")
_ENDINGS = (*_TOLD, "expired")


@dataclass(slots=True)
class Tallies:
    """Counts of the last hour: of this process, and of the others as they last told."""

    clock: Callable[[], float] = time.time
    others: Mapping[int, Counter[str]] = field(default_factory=dict)
    _minutes: dict[int, Counter[str]] = field(default_factory=dict)
    _untold: set[int] = field(default_factory=set)
    _shown: dict[str, Tally] = field(
        default_factory=lambda: {status: Tally(NOTIFICATIONS.labels("gateway", status)) for status in _ENDINGS}
    )

    def count(self, what: Mapping[str, int]) -> None:
        minute = int(self.clock()) // _MINUTE
        if minute not in self._minutes:
            self._minutes = {m: counts for m, counts in self._minutes.items() if minute - _KEPT < m <= minute}
        self._minutes.setdefault(minute, Counter()).update(what)
        self._untold.add(minute)
        for status, count in what.items():
            if (shown := self._shown.get(status)) is not None:
                shown.count += count

    def minutes(self) -> list[MinuteCount]:
        """The oldest first; a minute in which nothing happened is left out."""
        last = int(self.clock()) // _MINUTE
        return [
            MinuteCount(datetime.fromtimestamp(minute * _MINUTE, UTC), *(counts[name] for name in _TOLD))
            for minute in sorted(self._minutes.keys() | self.others.keys())
            if last - _KEPT < minute <= last + 1
            for counts in [self._minutes.get(minute, Counter()) + self.others.get(minute, Counter())]
        ]

    def untold(self) -> dict[int, Counter[str]]:
        """What this process has counted in those minutes of which it has more to tell, as a copy."""
        self._untold &= self._minutes.keys()
        return {minute: Counter(self._minutes[minute]) for minute in sorted(self._untold)}

    def told(self, counts: Mapping[int, Counter[str]]) -> None:
        """The others can read these now."""
        self._untold -= {minute for minute, told in counts.items() if self._minutes.get(minute) == told}


@dataclass(frozen=True, slots=True)
class TalliedAcceptances:
    """A store of acceptances that counts those that are new."""

    store: AcceptanceStore
    tallies: Tallies

    async def accept(self, batch: Sequence[Acceptance]) -> Sequence[Standing | RequestIdSpent]:
        standings = await self.store.accept(batch)
        self.tallies.count({"accepted": sum(isinstance(one, Standing) and one.fresh for one in standings)})
        return standings

    async def find(self, caller_id: UUID, request_id: str) -> Standing | None:
        return await self.store.find(caller_id, request_id)

    async def find_all(self, caller_id: UUID, request_ids: Sequence[str]) -> Mapping[str, Standing]:
        return await self.store.find_all(caller_id, request_ids)


@dataclass(frozen=True, slots=True)
class TalliedReports:
    """A store of reports that counts endings; a report that comes twice counts twice."""

    store: ReportStore
    tallies: Tallies

    async def record(self, reports: Sequence[DeliveryReported], steps: Sequence[tuple[UUID, Step]]) -> set[UUID]:
        known = await self.store.record(reports, steps)
        self.tallies.count(Counter(report.status for report in reports if report.notification_id in known))
        return known

    async def expect(self, waits: Sequence[Wait]) -> None:
        await self.store.expect(waits)


def stats_of(tallies: Tallies, backlog: Backlog) -> Stats:
    minutes = tallies.minutes()
    delivered, failed = sum(minute.delivered for minute in minutes), sum(minute.failed for minute in minutes)
    return Stats(
        minutes=minutes,
        delivery_ratio=delivered / (delivered + failed) if delivered + failed else None,
        outbox_waiting=backlog.waiting,
        queues=None
        if backlog.depths is None
        else [
            QueueFigures(queue, depth.ready, depth.in_flight, depth.oldest_age_seconds)
            for queue, depth in sorted(backlog.depths.items())
        ],
    )
