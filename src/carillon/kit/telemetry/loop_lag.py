"""How late the event loop comes: what one callback holds up, every request waits for."""

import asyncio
import time
from typing import NoReturn

from carillon.kit.telemetry.metrics import LOOP_LAG

_EVERY_SECONDS = 0.05


async def watch_loop() -> NoReturn:
    """Observe the lag twenty times a second, for ever."""
    while True:
        due = time.perf_counter() + _EVERY_SECONDS
        await asyncio.sleep(_EVERY_SECONDS)
        LOOP_LAG.observe(max(0.0, time.perf_counter() - due))
