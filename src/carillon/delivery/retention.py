"""Retention: a delivery outlives its notification, and then it leaves too."""

import asyncio
from typing import Protocol

import structlog

from carillon.contracts.retention import deliveries_kept_days
from carillon.kit.telemetry.metrics import ROWS_RETIRED

_log = structlog.get_logger()

_EVERY = 3600.0
_BITE = 1_000
_REST = 0.02


class SettledDeliveries(Protocol):
    async def drop_settled(self, *, older_than_days: int, limit: int) -> int: ...


async def keep_retired(store: SettledDeliveries, keep_days: int, *, service: str) -> None:
    """Look every hour, until cancelled."""
    while True:
        await retire(store, keep_days, service=service)
        await asyncio.sleep(_EVERY)


async def retire(store: SettledDeliveries, keep_days: int, *, service: str) -> int:
    """One round, in bites; how many deliveries went."""
    gone = 0
    while dropped := await store.drop_settled(older_than_days=deliveries_kept_days(keep_days), limit=_BITE):
        gone += dropped
        ROWS_RETIRED.labels(service, "deliveries").inc(dropped)
        await asyncio.sleep(_REST)
    if gone:
        _log.info("retired", deliveries=gone)
    return gone
