"""Who is calling: the caller, what it may do, and tokens that were verified a moment ago."""

import fnmatch
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, Protocol
from uuid import UUID

CallerKind = Literal["user", "application", "service"]


@dataclass(frozen=True, slots=True)
class Caller:
    """The owner of a verified token. `caller_id` is the identity that idempotency and ownership rest on."""

    caller_id: UUID
    kind: CallerKind
    permissions: frozenset[str]
    expires_at: float
    session_id: UUID | None = None

    def may(self, permission: str) -> bool:
        """True if held exactly or by a wildcard such as `users:*`."""
        return permission in self.permissions or any(
            fnmatch.fnmatchcase(permission, held) for held in self.permissions if held.endswith("*")
        )


class Authenticator(Protocol):
    """Turns a bearer token into its caller."""

    async def __call__(self, token: str) -> Caller:
        """Raises Unauthenticated for a bad token, Unavailable when nobody can tell."""
        ...


class RememberedTokens:
    """Verified tokens by hash, bounded and for `seconds` at most: a signature costs more than the look-up it guards.

    A failed verification is never remembered. `forget` drops everything at once (revocation, lost invalidation link).
    """

    def __init__(self, verify: Callable[[str], Awaitable[Caller]], *, seconds: float, capacity: int = 10_000) -> None:
        self._verify = verify
        self._seconds = seconds
        self._capacity = capacity
        self._known: dict[bytes, tuple[Caller, float]] = {}

    async def __call__(self, token: str) -> Caller:
        key = hashlib.sha256(token.encode()).digest()
        now = time.time()
        if (hit := self._known.get(key)) and hit[1] > now:
            return hit[0]
        caller = await self._verify(token)
        if len(self._known) >= self._capacity:
            self._known.pop(next(iter(self._known)))
        self._known[key] = (caller, min(caller.expires_at, now + self._seconds))
        return caller

    def forget(self) -> None:
        self._known.clear()
