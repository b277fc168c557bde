"""Tokens that were verified a moment ago."""

import hashlib
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

from carillon.kit.auth import Caller
from carillon.kit.cache import Cache
from carillon.kit.errors import Unauthenticated, Unavailable

_ROUNDS = 3


class RememberedTokens:
    """Verified tokens by hash, bounded: a signature costs more than the look-up it guards.

    Kept for `seconds`, and while `verify` says Unavailable for up to `stale_seconds`; never past their own end. Those
    who ask at once share one verification. A failed one is not remembered, nor is one under way when `forget` drops
    everything (lost invalidation link) or `forget_caller` its owner's (revocation): it is made again.
    """

    def __init__(
        self,
        verify: Callable[[str], Awaitable[Caller]],
        *,
        service: str,
        name: str = "tokens",
        seconds: float,
        stale_seconds: float = 0,
        capacity: int = 10_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._verify = verify
        self._clock = clock
        self._capacity = capacity
        self._of_caller: dict[UUID, set[bytes]] = {}
        self._indexed = 0
        self._forgotten = _Forgotten(capacity)
        self._cache: Cache[bytes, Caller] = Cache(
            service=service,
            name=name,
            fresh_seconds=seconds,
            stale_seconds=stale_seconds,
            capacity=capacity,
            away=(Unavailable,),
        )

    async def __call__(self, token: str) -> Caller:
        key = _key(token)
        caller = (await self._cache.get(key, lambda: self._verified(key, token))).value
        if caller.expires_at <= self._clock():
            raise Unauthenticated("The token has expired.")
        return caller

    def at_hand(self, token: str) -> Caller | None:
        """The caller, where nobody need be asked. Whoever makes use of it counts it: `count`."""
        caller = self._cache.young(_key(token))
        return caller if caller is not None and caller.expires_at > self._clock() else None

    def count(self) -> None:
        self._cache.count()

    def forget(self) -> None:
        self._drop_index()
        self._cache.forget_all()

    def forget_caller(self, caller_id: UUID) -> None:
        """Every token of this caller is verified anew."""
        self._forgotten.note(caller_id)
        keys = self._of_caller.pop(caller_id, set())
        self._indexed -= len(keys)
        for key in keys:
            self._cache.forget(key)

    def link_down(self) -> None:
        """Revocations are not heard of: a token is verified anew after a second."""
        self._cache.link_down()

    def link_up(self, seconds: float) -> None:
        self._drop_index()
        self._cache.link_up(seconds)

    def link_good(self, seconds: float) -> None:
        self._cache.link_good(seconds)

    def __len__(self) -> int:
        return len(self._cache)

    async def _verified(self, key: bytes, token: str) -> Caller:
        """Nobody knows whose token this is before it is verified: what was forgotten meanwhile is looked at after."""
        for _ in range(_ROUNDS):
            began = self._forgotten.now
            caller = await self._verify(token)
            if not self._forgotten.since(began, caller.caller_id):
                self._index(caller.caller_id, key)
                return caller
        raise Unavailable("What this token may do is changing too fast: try again.")

    def _drop_index(self) -> None:
        self._of_caller.clear()
        self._indexed = 0

    def _index(self, caller_id: UUID, key: bytes) -> None:
        keys = self._of_caller.setdefault(caller_id, set())
        self._indexed += key not in keys
        keys.add(key)
        if self._indexed > 2 * self._capacity:  # most of them have left the cache by themselves
            kept = {
                owner: {k for k in keys if k == key or self._cache.peek(k)} for owner, keys in self._of_caller.items()
            }
            self._of_caller = {owner: keys for owner, keys in kept.items() if keys}
            self._indexed = sum(map(len, self._of_caller.values()))


class _Forgotten:
    """When, counted in revocations, a caller was last forgotten; of callers beyond `capacity` the most is assumed."""

    def __init__(self, capacity: int) -> None:
        self.now = 0
        self._capacity = capacity
        self._last: dict[UUID, int] = {}
        self._floor = 0

    def note(self, caller_id: UUID) -> None:
        self.now += 1
        self._last.pop(caller_id, None)
        self._last[caller_id] = self.now
        if len(self._last) > self._capacity:
            self._floor = self._last.pop(next(iter(self._last)))

    def since(self, began: int, caller_id: UUID) -> bool:
        return self._last.get(caller_id, self._floor) > began


def _key(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
