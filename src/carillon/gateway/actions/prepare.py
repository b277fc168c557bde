"""Prepare: the months to come have their partitions before the first notification of them arrives."""

import asyncio
from datetime import UTC, datetime

import structlog

from carillon.gateway.actions.ports import PartitionStore
from carillon.gateway.domain import months

_log = structlog.get_logger()

_AHEAD = 2
_EVERY = 3600.0


async def prepare(store: PartitionStore) -> None:
    """This month and the next two."""
    made = await store.ensure(list(months(datetime.now(UTC), _AHEAD)))
    if made:
        _log.info("partitions_made", names=made)


async def keep_prepared(store: PartitionStore) -> None:
    """Look every hour, until cancelled; until a partition can be made the default one takes its rows."""
    while True:
        await prepare(store)
        await asyncio.sleep(_EVERY)
