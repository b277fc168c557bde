"""Copies shared in Redis: each has a version, none is overwritten by an older one, none outlives a gap.

A copy is `<epoch>:<version>:<payload>`. It is believed in the epoch in which it was made; whoever may have failed to
invalidate something begins a new epoch, which ends the belief in all copies at once. A tombstone is `:<version>:`
without a payload: nothing older may be kept there. A shut key (`!`) takes nothing until it expires.
"""

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import redis.asyncio

from carillon.kit.redis_client import REDIS_AWAY, Rest
from carillon.users.actions.looking_up import SHARED_SECONDS

TOMBSTONE_SECONDS = 60.0
SHUT_SECONDS = 1.0

_LONGEST_VERSION = 15
_VERSION_OF = f"""
local function version_of(text)
  local digits = text and string.match(text, '^%x*:(%d+):')
  return digits and #digits <= {_LONGEST_VERSION} and tonumber(digits)
end
"""
_KEEP = (
    _VERSION_OF
    + """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local kept = 0
for i = 2, #KEYS do
  local version, payload, life = ARGV[3 * i - 4], ARGV[3 * i - 3], ARGV[3 * i - 2]
  local there = redis.call('GET', KEYS[i])
  local newest = version_of(there)
  if there ~= '!' and not (newest and newest > tonumber(version)) then
    redis.call('SET', KEYS[i], ARGV[1] .. ':' .. version .. ':' .. payload, 'PX', life)
    kept = kept + 1
  end
end
return kept
"""
)
_OUTDATE = (
    _VERSION_OF
    + """
for i = 1, #KEYS do
  local newest = version_of(redis.call('GET', KEYS[i]))
  if not newest or newest < tonumber(ARGV[i + 1]) then
    redis.call('SET', KEYS[i], ':' .. ARGV[i + 1] .. ':', 'PX', ARGV[1])
  end
end
return 0
"""
)
# The version rose by one at least, to what is not known here.
_SHUT = (
    _VERSION_OF
    + """
local newest = version_of(redis.call('GET', KEYS[1]))
if newest then
  redis.call('SET', KEYS[1], ':' .. string.format('%d', newest + 1) .. ':', 'PX', ARGV[1])
else
  redis.call('SET', KEYS[1], '!', 'PX', ARGV[2])
end
return 0
"""
)


class Copy(NamedTuple):
    version: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Shelf:
    """What was there of the keys asked for. What is read elsewhere now may be kept with this `epoch`, and no other."""

    epoch: bytes
    copies: Mapping[str, Copy]


class SharedCache:
    """Every question takes `seconds` at most; after a failure Redis rests for a second and counts as away."""

    def __init__(self, client: redis.asyncio.Redis, *, prefix: str, seconds: float) -> None:
        self._client = client
        self._prefix = prefix
        self._seconds = seconds
        self._epoch_key = f"{prefix}epoch"
        self._rest = Rest("look_ups_without_redis")
        self._distrusted = True
        self._keep = client.register_script(_KEEP)
        self._outdate = client.register_script(_OUTDATE)
        self._shut = client.register_script(_SHUT)

    def distrust(self) -> None:
        """Let nobody believe what is there now: something may have changed that it was not told of."""
        self._distrusted = True

    async def read(self, keys: Sequence[str]) -> Shelf | None:
        """None while Redis is away."""
        if self._rest.resting:
            return None
        try:
            async with asyncio.timeout(self._seconds):
                epoch = await self._new_epoch() if self._distrusted else b""
                there: list[Any] = await self._client.mget([self._epoch_key, *map(self._key, keys)])
                epoch = there[0] or epoch or await self._new_epoch()
        except REDIS_AWAY as error:
            self._rest.failed(error)
            return None
        self._rest.succeeded()
        found = {key: _copy(text, epoch) for key, text in zip(keys, there[1:], strict=True)}
        return Shelf(epoch, {key: copy for key, copy in found.items() if copy is not None})

    async def keep(self, epoch: bytes, copies: Mapping[str, Copy]) -> None:
        """Keep what is not older than what is there, in the epoch in which it was asked for."""
        if self._rest.resting or not copies:
            return
        arguments: list[bytes | int] = [epoch]
        for copy in copies.values():
            arguments += [copy.version, copy.payload, _life_milliseconds()]
        try:
            async with asyncio.timeout(self._seconds):
                await self._keep(keys=[self._epoch_key, *map(self._key, copies)], args=arguments)
        except REDIS_AWAY as error:
            self._rest.failed(error)

    async def outdate(self, versions: Mapping[str, int]) -> None:
        """Let nothing older than these versions be there. What Redis cannot be told ends the epoch when it is back."""
        if versions:
            await self._tell(
                self._outdate, list(map(self._key, versions)), [int(TOMBSTONE_SECONDS * 1000), *versions.values()]
            )

    async def shut(self, key: str) -> None:
        """As `outdate`, to a version that is higher than any there and not known here."""
        await self._tell(self._shut, [self._key(key)], [int(TOMBSTONE_SECONDS * 1000), int(SHUT_SECONDS * 1000)])

    async def _tell(self, script: Callable[..., Awaitable[Any]], keys: Sequence[str], arguments: Sequence[int]) -> None:
        if self._rest.resting:
            self.distrust()
            return
        try:
            async with asyncio.timeout(self._seconds):
                await script(keys=keys, args=arguments)
        except REDIS_AWAY as error:
            self.distrust()
            self._rest.failed(error)

    async def _new_epoch(self) -> bytes:
        self._distrusted = False  # before the question: what is distrusted meanwhile is distrusted anew
        epoch = secrets.token_hex(8).encode()
        try:
            await self._client.set(self._epoch_key, epoch)
        except BaseException:
            self._distrusted = True
            raise
        return epoch

    def _key(self, key: str) -> str:
        return self._prefix + key


def _copy(text: bytes | None, epoch: bytes) -> Copy | None:
    """None for what is not there, was made in another epoch, or is no copy at all."""
    made_in, _, rest = (text or b"").partition(b":")
    version, _, payload = rest.partition(b":")
    if made_in != epoch or not payload or not version.isdigit() or len(version) > _LONGEST_VERSION:
        return None
    return Copy(int(version), payload)


def _life_milliseconds() -> int:
    """A tenth is taken off at random, so that what was read together does not expire together."""
    return int(SHARED_SECONDS * 1000 * random.uniform(0.9, 1))  # noqa: S311 - jitter, not a secret
