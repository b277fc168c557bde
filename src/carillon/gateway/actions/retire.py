"""Retire: a month whose notifications have all ended leaves once it is old enough, with its keys and its timeline."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

import structlog

from carillon.contracts.retention import deliveries_kept_days
from carillon.gateway.domain import Month, key_from, month_named
from carillon.kit.telemetry.metrics import PARTITIONS_RETIRED, ROWS_RETIRED

_log = structlog.get_logger()

_EVERY = 3600.0
_BITE = 1_000
_LOOKED_AT = 10_000
_REST = 0.02
_TRIES = 20
_BETWEEN_TRIES = 0.5
_FIRST = UUID(int=0)


class RetirementStore(Protocol):
    """Every step is bounded, whole or not at all, and safe in several replicas at once. Raises Unavailable."""

    async def now(self) -> datetime: ...

    async def attached(self) -> Sequence[str]: ...

    async def apart(self) -> Sequence[str]: ...

    async def pending(self, month: Month, after: UUID, limit: int) -> tuple[UUID | None, UUID | None]: ...

    async def detach(self, month: Month, *, ended_at: datetime) -> bool: ...

    async def drop_keys(self, month: Month, after: UUID, limit: int) -> tuple[int, UUID | None]: ...

    async def drop(self, month: Month) -> bool: ...

    async def sweep(self, before: UUID, limit: int) -> int: ...

    async def sweep_events(self, before: UUID, limit: int) -> int: ...

    async def drop_letters(self, before: UUID, limit: int) -> int: ...

    async def drop_recipients(self, before: datetime, limit: int) -> int: ...

    async def drop_broadcasts(self, before: datetime, limit: int) -> int: ...

    async def drop_tombstones(self, before: datetime, limit: int) -> int: ...


async def keep_retired(store: RetirementStore, keep_days: int) -> None:
    """Look every hour, until cancelled."""
    while True:
        await retire(store, keep_days)
        await asyncio.sleep(_EVERY)


async def retire(store: RetirementStore, keep_days: int) -> Counter[str]:
    """One round; answers how many rows went, by table, and how many `partitions`."""
    now = await store.now()
    kept_from = now - timedelta(days=keep_days)
    before = key_from(kept_from)
    gone: Counter[str] = Counter()
    for month in _old(await store.attached(), before):
        await _detach(month, store)
    for month in _old(await store.apart(), before):
        await _drop(month, store, gone)
    tombstones_before = now - timedelta(days=deliveries_kept_days(keep_days))
    await _bites("notifications", gone, lambda: store.sweep(before, _BITE))
    await _bites("notification_events", gone, lambda: store.sweep_events(before, _BITE))
    await _bites("dead_letters", gone, lambda: store.drop_letters(before, _BITE))
    await _bites("broadcast_recipients", gone, lambda: store.drop_recipients(kept_from, _BITE))
    await _bites("broadcasts", gone, lambda: store.drop_broadcasts(kept_from, _BITE))
    await _bites("erased_users", gone, lambda: store.drop_tombstones(tombstones_before, _BITE))
    if gone.total():
        _log.info("retired", kept_from=_day(now, keep_days), **gone)
    return gone


def _old(names: Sequence[str], before: UUID) -> list[Month]:
    """Those that lie before it as a whole."""
    return [month for month in map(month_named, names) if month.end <= before]


async def _detach(month: Month, store: RetirementStore) -> None:
    """Unless something in it has not ended. A table in use is tried again, each time for a moment only."""
    ended_at = await store.now()
    pending = await _first_pending(month, store)
    if pending is not None:
        _log.warning("month_kept", month=month.name, pending=str(pending))
        return
    for _ in range(_TRIES):
        if await store.detach(month, ended_at=ended_at):
            return
        await asyncio.sleep(_BETWEEN_TRIES)
    _log.warning("month_in_use", month=month.name)


async def _first_pending(month: Month, store: RetirementStore) -> UUID | None:
    after: UUID | None = _FIRST
    while after is not None:
        pending, after = await store.pending(month, after, _LOOKED_AT)
        if pending is not None:
            return pending
        await asyncio.sleep(_REST)
    return None


async def _drop(month: Month, store: RetirementStore, gone: Counter[str]) -> None:
    after: UUID | None = _FIRST
    while after is not None:
        keys, after = await store.drop_keys(month, after, _BITE)
        gone["idempotency_keys"] += keys
        ROWS_RETIRED.labels("gateway", "idempotency_keys").inc(keys)
        await asyncio.sleep(_REST)
    if await store.drop(month):
        gone["partitions"] += 1
        PARTITIONS_RETIRED.labels("gateway").inc()
        _log.info("month_retired", month=month.name)


async def _bites(table: str, gone: Counter[str], bite: Callable[[], Awaitable[int]]) -> None:
    while dropped := await bite():
        gone[table] += dropped
        ROWS_RETIRED.labels("gateway", table).inc(dropped)
        await asyncio.sleep(_REST)


def _day(now: datetime, keep_days: int) -> str:
    return (now - timedelta(days=keep_days)).astimezone(UTC).date().isoformat()
