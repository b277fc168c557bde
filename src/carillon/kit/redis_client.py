"""A client of Redis that gives up soon: nothing here may wait long for what only makes things quicker."""

import contextlib
import time
from collections.abc import AsyncIterator, Callable

import redis.asyncio
import redis.exceptions
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

_log = structlog.get_logger()

REDIS_AWAY = (redis.exceptions.RedisError, OSError, TimeoutError)
"""What the client raises when the server is slow, gone, full, or speaks of something else."""
_REST_SECONDS = 1.0


@contextlib.asynccontextmanager
async def open_redis(url: str, *, seconds: float) -> AsyncIterator[redis.asyncio.Redis]:
    """`redis://host:port/db`; opens also while the server is away, which is one that is silent for `seconds`."""
    client = redis.asyncio.Redis.from_url(
        url, socket_timeout=seconds, socket_connect_timeout=seconds, retry=Retry(NoBackoff(), 0)
    )
    try:
        yield client
    finally:
        await client.aclose()


class Rest:
    """After a failure nobody asks for a second; the first failure of a row is logged as `event`."""

    def __init__(self, event: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._event = event
        self._clock = clock
        self._until = 0.0

    @property
    def resting(self) -> bool:
        return self._clock() < self._until

    def failed(self, error: BaseException) -> None:
        if self._until == 0:
            _log.warning(self._event, error=type(error).__name__)
        self._until = self._clock() + _REST_SECONDS

    def succeeded(self) -> None:
        self._until = 0.0
