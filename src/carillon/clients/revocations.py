"""Access tokens that are void before their time: what `users.events` told of sessions ended and versions raised."""

import time
from collections import OrderedDict
from collections.abc import Callable
from uuid import UUID

from carillon.contracts.users import LONGEST_ACCESS_SECONDS, CategoryChanged, UserChanged
from carillon.kit.remembered_tokens import RememberedTokens

_SKEW_SECONDS = 5.0
"""By how much the clocks of two machines may differ."""


class Revocations:
    """Has what is `remembered` of a caller verified anew, and says which access tokens are void all the same.

    A revocation is kept for as long as an access token can live, and of the newest `capacity`: a token of one beyond
    lives out its minutes.
    """

    def __init__(
        self,
        *,
        capacity: int = 100_000,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._remembered: list[RememberedTokens] = []
        self._capacity = capacity
        self._clock = clock
        self._wall_clock = wall_clock
        self._heard_since = 0.0
        self._versions: OrderedDict[UUID, tuple[int, float]] = OrderedDict()
        self._sessions: OrderedDict[UUID, float] = OrderedDict()

    def guard(self, *remembered: RememberedTokens) -> None:
        """These are to forget what is revoked from now on."""
        self._remembered.extend(remembered)

    def heard(self, change: UserChanged | CategoryChanged) -> None:
        """What is verified from now on sees it."""
        if isinstance(change, CategoryChanged):
            return
        if not (change.tokens_changed or change.token_version is not None or change.ended_sessions):
            return
        now = self._clock()
        if change.token_version is not None:
            before = self._versions.pop(change.user_id, (0, now))[0]
            self._versions[change.user_id] = (max(before, change.token_version), now)
        for session_id in change.ended_sessions:
            self._sessions.pop(session_id, None)
            self._sessions[session_id] = now
        self._drop(now - LONGEST_ACCESS_SECONDS)
        for tokens in self._remembered:
            tokens.forget_caller(change.user_id)

    def link_down(self) -> None:
        """Revocations are not heard of from now on."""
        for tokens in self._remembered:
            tokens.link_down()

    def link_up(self, seconds: float) -> None:
        """They are heard of again; those before may have been missed, so nothing that is remembered will do."""
        self._heard_since = self._wall_clock()
        for tokens in self._remembered:
            tokens.link_up(seconds)

    def link_good(self, seconds: float) -> None:
        """All of them were told."""
        for tokens in self._remembered:
            tokens.link_good(seconds)

    def void(self, user_id: UUID, session_id: UUID, version: int) -> bool:
        """Whether an access token of this user, session and version was revoked."""
        lowest = self._versions.get(user_id)
        return session_id in self._sessions or (lowest is not None and version < lowest[0])

    def missed(self, issued_at: float) -> bool:
        """Whether an access token of that Unix time may have been revoked before anybody listened here."""
        return issued_at < self._heard_since + _SKEW_SECONDS

    def __len__(self) -> int:
        return len(self._versions) + len(self._sessions)

    def _drop(self, until: float) -> None:
        versions, sessions = self._versions, self._sessions
        while versions and (len(versions) > self._capacity or next(iter(versions.values()))[1] < until):
            versions.popitem(last=False)
        while sessions and (len(sessions) > self._capacity or next(iter(sessions.values())) < until):
            sessions.popitem(last=False)
