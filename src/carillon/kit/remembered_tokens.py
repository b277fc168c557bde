"""Tokens that were verified a moment ago."""

import hashlib
import time
from collections.abc import Awaitable, Callable

from carillon.kit.auth import Caller
from carillon.kit.cache import Cache
from carillon.kit.errors import Unauthenticated, Unavailable


class RememberedTokens:
    """Verified tokens by hash, bounded: a signature costs more than the look-up it guards.

    Kept for `seconds`, and while `verify` says Unavailable for up to `stale_seconds`; never past their own end. Those
    who ask at once share one verification. A failed one is not remembered, nor is one under way when `forget` drops
    everything (revocation, lost invalidation link).
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
        caller = (await self._cache.get(key, lambda: self._verify(token))).value
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
        self._cache.forget_all()

    def link_down(self) -> None:
        """Revocations are not heard of: a token is verified anew after a second."""
        self._cache.link_down()

    def link_up(self) -> None:
        self._cache.link_up()

    def __len__(self) -> int:
        return len(self._cache)


def _key(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
