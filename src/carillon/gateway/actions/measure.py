"""Measure: how much is committed and not yet with the broker."""

import asyncio

from carillon.gateway.actions.ports import OutboxStore
from carillon.kit.errors import Unavailable
from carillon.kit.telemetry.metrics import OUTBOX_WAITING

_EVERY = 5.0


async def keep_measured(outbox: OutboxStore) -> None:
    """Every five seconds, until cancelled."""
    gauge = OUTBOX_WAITING.labels("gateway")
    while True:
        try:
            gauge.set(await outbox.waiting())
        except Unavailable:
            gauge.set(float("nan"))  # not known, which is not the same as none
        await asyncio.sleep(_EVERY)
