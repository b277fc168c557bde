"""The gateway's tables as a fake with state: the same promises as the store, without a server."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from carillon.contracts.messages import DeliveryReported, Step
from carillon.gateway.domain import Acceptance, Standing, supersedes
from carillon.gateway.errors import RowsRefused
from carillon.gateway.watching import Wait
from carillon.kit.errors import Unavailable


@dataclass
class Tables:
    """`away` and `refuses` script trouble; `batches` tells how many acceptances came in each commit."""

    keys: dict[tuple[UUID, str], Acceptance] = field(default_factory=dict)
    rows: dict[UUID, DeliveryReported] = field(default_factory=dict)
    events: dict[tuple[UUID, str], Step] = field(default_factory=dict)
    waits: list[Wait] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    asked: int = 0
    away: bool = False
    refuses: set[str] = field(default_factory=set)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    async def accept(self, batch: Sequence[Acceptance]) -> list[Standing]:
        self.asked += 1
        await self.open.wait()
        self._answer()
        if self.refuses & {acceptance.request_id for acceptance in batch}:
            raise RowsRefused("DataError")
        self.batches.append(len(batch))
        return [self._accept(acceptance) for acceptance in batch]

    async def find(self, caller_id: UUID, request_id: str) -> Standing | None:
        self._answer()
        present = self.keys.get((caller_id, request_id))
        return None if present is None else self._standing(present, fresh=False)

    async def find_all(self, caller_id: UUID, request_ids: Sequence[str]) -> dict[str, Standing]:
        found = {request_id: await self.find(caller_id, request_id) for request_id in request_ids}
        return {request_id: standing for request_id, standing in found.items() if standing}

    async def record(self, reports: Sequence[DeliveryReported], steps: Sequence[tuple[UUID, Step]]) -> set[UUID]:
        self._answer()
        if any(str(report.notification_id) in self.refuses for report in reports):
            raise RowsRefused("DataError")
        known = {acceptance.notification_id for acceptance in self.keys.values()}
        for report in reports:
            present = self.rows.get(report.notification_id)
            if report.notification_id in known and (
                present is None or supersedes(report, present.generation, present.rank)
            ):
                self.rows[report.notification_id] = report
        for key, step in steps:
            if key in known:
                self.events.setdefault((key, step.key), step)
        return known & {report.notification_id for report in reports}

    async def expect(self, waits: Sequence[Wait]) -> None:
        self._answer()
        self.waits.extend(waits)

    def _accept(self, acceptance: Acceptance) -> Standing:
        present = self.keys.setdefault((acceptance.caller_id, acceptance.request_id), acceptance)
        return self._standing(present, fresh=present is acceptance)

    def _standing(self, present: Acceptance, *, fresh: bool) -> Standing:
        report = self.rows.get(present.notification_id)
        status = report.status if report else "pending"
        stage = None if report else ("accepted" if fresh else "queued")
        return Standing(present.notification_id, status, stage, present.body_hash, fresh)  # type: ignore[arg-type]

    def _answer(self) -> None:
        if self.away:
            raise Unavailable("The database is away.")
