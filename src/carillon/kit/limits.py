"""Limits per minute by GCRA: spread evenly, with a burst of one minute's worth; in the process or shared in Redis."""

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import redis.asyncio

from carillon.kit.errors import Problem, TooManyRequests
from carillon.kit.redis_client import REDIS_AWAY, Rest, open_redis

WINDOW = 60.0
"""Seconds to which every limit refers."""
STRICT_SHARE = 4
"""While the shared count is away, a strict limit is this many times smaller in each process."""
_DUST = 1e-6
_REDIS_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Allowed:
    """`remaining` more would pass now; all of `limit` would after `reset_after` seconds. A limit of 0 is none."""

    limit: int
    remaining: int
    reset_after: float


@dataclass(frozen=True, slots=True)
class Refused:
    """One would pass after `retry_after` seconds."""

    limit: int
    retry_after: float


Verdict = Allowed | Refused
UNLIMITED = Allowed(limit=0, remaining=0, reset_after=0)


class Limits(Protocol):
    """Counts by key. `per_minute` of 0 means unlimited."""

    async def check(self, key: str, per_minute: int, *, strict: bool = False) -> Verdict:
        """Count one, unless it is refused. A `strict` limit is cut, not loosened, while the shared count is away."""
        ...

    async def forgive(self, key: str, per_minute: int, *, strict: bool = False) -> None:
        """Take one back that was counted with the same arguments."""
        ...


def headers(name: str, verdict: Verdict) -> dict[str, str]:
    """`RateLimit` and `RateLimit-Policy` of an answer; empty where there is no limit."""
    if verdict.limit == 0:
        return {}
    left, seconds = (
        (verdict.remaining, verdict.reset_after) if isinstance(verdict, Allowed) else (0, verdict.retry_after)
    )
    return {
        "RateLimit": f'"{name}";r={left};t={round(seconds + 0.5)}',
        "RateLimit-Policy": f'"{name}";q={verdict.limit};w={round(WINDOW)}',
    }


def enforced(name: str, verdict: Verdict) -> dict[str, str]:
    """The headers for an answer. Raises TooManyRequests for a refusal."""
    if isinstance(verdict, Refused):
        raise TooManyRequests(
            f"The limit of {verdict.limit} {name} a minute is used up: come again after Retry-After seconds.",
            retry_after=verdict.retry_after,
            headers=headers(name, verdict),
        )
    return headers(name, verdict)


@contextlib.contextmanager
def told_in_failures(headers: Mapping[str, str]) -> Iterator[None]:
    """Have what ends the request tell these too; its own headers come first."""
    try:
        yield
    except Problem as problem:
        problem.headers = {**headers, **problem.headers}
        raise


def arrive(busy_until: float, now: float, per_minute: int) -> tuple[Verdict, float]:
    """GCRA: each arrival makes its key busy for a share of the minute; a key busy for over a minute refuses.

    The second value is until when the key is busy now.
    """
    share = WINDOW / per_minute
    after = max(busy_until, now) + share
    wait = after - now - WINDOW
    if wait > _DUST:
        return Refused(per_minute, wait), busy_until
    return _allowed(after - now, per_minute), after


def _allowed(busy_seconds: float, per_minute: int) -> Allowed:
    remaining = int((WINDOW - busy_seconds) * per_minute / WINDOW + _DUST)
    return Allowed(per_minute, remaining, busy_seconds)


class ProcessLimits:
    """Counts in this process. At capacity the key that was quiet longest is forgotten."""

    def __init__(self, *, capacity: int = 100_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._clock = clock
        self._busy_until: dict[str, float] = {}

    async def check(self, key: str, per_minute: int, *, strict: bool = False) -> Verdict:  # noqa: ARG002
        if per_minute == 0:
            return UNLIMITED
        verdict, self._busy_until[key] = arrive(self._busy_until.pop(key, 0.0), self._clock(), per_minute)
        if len(self._busy_until) > self._capacity:
            del self._busy_until[next(iter(self._busy_until))]
        return verdict

    async def forgive(self, key: str, per_minute: int, *, strict: bool = False) -> None:  # noqa: ARG002
        if per_minute and key in self._busy_until:
            self._busy_until[key] -= WINDOW / per_minute

    def __len__(self) -> int:
        return len(self._busy_until)


# The clock is the server's, so that processes need not agree on theirs.
_ARRIVE = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local share, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local busy_until = tonumber(redis.call('GET', KEYS[1]) or now)
local after = math.max(busy_until, now) + share
local wait = after - now - window
if wait > 0.00001 then return {0, string.format('%.6f', wait)} end
redis.call('SET', KEYS[1], string.format('%.6f', after), 'PX', math.ceil((after - now) * 1000))
return {1, string.format('%.6f', after - now)}
"""
_FORGIVE = """
local busy_until = redis.call('GET', KEYS[1])
if busy_until then
  redis.call('SET', KEYS[1], string.format('%.6f', tonumber(busy_until) - tonumber(ARGV[1])), 'KEEPTTL')
end
return 0
"""


class RedisLimits:
    """Counts shared in Redis. While it is away each process counts for itself, and asks Redis again every second."""

    def __init__(self, client: redis.asyncio.Redis, *, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._alone = ProcessLimits()
        self._arrive = client.register_script(_ARRIVE)
        self._forgive = client.register_script(_FORGIVE)
        self._rest = Rest("limits_without_redis")

    async def check(self, key: str, per_minute: int, *, strict: bool = False) -> Verdict:
        if per_minute == 0:
            return UNLIMITED
        if self._rest.resting:
            return await self._counted_alone(key, per_minute, strict=strict)
        try:
            passed, seconds = await self._arrive(keys=[self._prefix + key], args=[WINDOW / per_minute, WINDOW])
        except REDIS_AWAY as error:
            self._rest.failed(error)
            return await self._counted_alone(key, per_minute, strict=strict)
        self._rest.succeeded()
        return _allowed(float(seconds), per_minute) if passed else Refused(per_minute, float(seconds))

    async def forgive(self, key: str, per_minute: int, *, strict: bool = False) -> None:
        if per_minute == 0:
            return
        await self._alone.forgive(key, _share_alone(per_minute, strict=strict))
        if self._rest.resting:
            return
        try:
            await self._forgive(keys=[self._prefix + key], args=[WINDOW / per_minute])
        except REDIS_AWAY as error:
            self._rest.failed(error)

    async def ping(self) -> None:
        await self._client.ping()

    async def _counted_alone(self, key: str, per_minute: int, *, strict: bool) -> Verdict:
        return await self._alone.check(key, _share_alone(per_minute, strict=strict))


def _share_alone(per_minute: int, *, strict: bool) -> int:
    return max(1, per_minute // STRICT_SHARE) if strict else per_minute


@contextlib.asynccontextmanager
async def open_limits(redis_url: str | None, *, prefix: str) -> AsyncIterator[Limits]:
    """Shared in Redis where there is one, else counted in this process."""
    if redis_url is None:
        yield ProcessLimits()
        return
    async with redis_limits(redis_url, prefix=prefix) as limits:
        yield limits


@contextlib.asynccontextmanager
async def redis_limits(url: str, *, prefix: str, seconds: float = _REDIS_SECONDS) -> AsyncIterator[RedisLimits]:
    """`redis://host:port/db`; opens also while the server is away. `prefix` begins every key.

    A server that does not answer within `seconds` counts as away.
    """
    async with open_redis(url, seconds=seconds) as client:
        yield RedisLimits(client, prefix=prefix)
