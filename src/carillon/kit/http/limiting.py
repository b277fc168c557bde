"""So many requests a minute for each caller of one service, told in the headers of every answer."""

import contextlib
from collections.abc import AsyncIterator, Mapping

from carillon.kit.auth import Caller
from carillon.kit.http.system import HealthCheck
from carillon.kit.limits import Limits, RedisLimits, enforced, open_limits

_WITHOUT_REDIS = "requests are counted in each process"


class CallerLimit:
    """Counts by the owner of a token, however many tokens they hold. Services are not limited."""

    def __init__(self, limits: Limits, per_minute: int) -> None:
        self._limits = limits
        self._per_minute = per_minute

    async def __call__(self, caller: Caller) -> Mapping[str, str]:
        """Headers for the answer. Raises TooManyRequests."""
        if caller.kind == "service":
            return {}
        return enforced("requests", await self._limits.check(f"caller:{caller.caller_id}", self._per_minute))

    def checks(self) -> dict[str, HealthCheck]:
        """For `/health`, where the count is shared."""
        return (
            {"redis": HealthCheck(self._limits.ping, _WITHOUT_REDIS)} if isinstance(self._limits, RedisLimits) else {}
        )


@contextlib.asynccontextmanager
async def caller_limit(per_minute: int, redis_url: str | None, *, service: str) -> AsyncIterator[CallerLimit | None]:
    """None where `per_minute` is 0: nothing is opened, and nothing is asked."""
    if per_minute == 0:
        yield None
        return
    async with open_limits(redis_url, prefix=f"carillon:{service}:") as limits:
        yield CallerLimit(limits, per_minute)
