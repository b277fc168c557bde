"""A circuit breaker: after failures in a row, or too many among the last calls, nobody calls for a while; then one
call tries alone."""

import time
from collections.abc import Callable
from typing import Literal

State = Literal["closed", "open", "half_open"]
_PROBE_SECONDS = 60.0
_ASK_AGAIN_SECONDS = 1.0


class Breaker:
    """Whoever is admitted says afterwards `succeeded`, `failed` or `abandoned` (the call was not made after all).

    It opens on so many `failures` in a row, or once `ratio` of the last `calls` failed (not on fewer calls).
    The rest begins at `rest_seconds` and doubles with every failed probe up to `longest_rest`.
    """

    def __init__(
        self,
        *,
        failures: int = 5,
        ratio: float = 1.0,
        calls: int = 20,
        rest_seconds: float = 5,
        longest_rest: float = 60,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = failures
        self._too_many = ratio * calls
        self._calls = calls
        self._last = 0  # a bit for each of the last calls, set where it failed
        self._seen = 0
        self._first_rest = rest_seconds
        self._longest_rest = longest_rest
        self._clock = clock
        self._in_a_row = 0
        self._rest = rest_seconds
        self._open_until: float | None = None
        self._probing_since: float | None = None

    @property
    def state(self) -> State:
        if self._open_until is None:
            return "closed"
        return "open" if self._clock() < self._open_until else "half_open"

    def admit(self) -> float:
        """0: go on. Otherwise: ask again in so many seconds."""
        if self._open_until is None:
            return 0.0
        now = self._clock()
        if now < self._open_until:
            return self._open_until - now
        if self._probing_since is not None and now - self._probing_since < _PROBE_SECONDS:
            return _ASK_AGAIN_SECONDS
        self._probing_since = now
        return 0.0

    def rests(self) -> float:
        """Seconds until a call may be tried; 0 where that is now."""
        return 0.0 if self._open_until is None else max(0.0, self._open_until - self._clock())

    def succeeded(self) -> None:
        self._in_a_row = 0
        if self._open_until is None:
            self._note(failed=False)
            return
        self._last = self._seen = 0
        self._rest = self._first_rest
        self._open_until = self._probing_since = None

    def failed(self) -> None:
        self._in_a_row += 1
        if self._open_until is None:
            self._note(failed=True)
            if self._in_a_row >= self._limit or self._fails_too_often:
                self._open_until = self._clock() + self._rest
        elif self._probing_since is not None:
            self._probing_since = None
            self._rest = min(self._rest * 2, self._longest_rest)
            self._open_until = self._clock() + self._rest

    def abandoned(self) -> None:
        self._probing_since = None

    def _note(self, *, failed: bool) -> None:
        self._last = (self._last << 1 | failed) & ((1 << self._calls) - 1)
        if self._seen < self._calls:
            self._seen += 1

    @property
    def _fails_too_often(self) -> bool:
        return self._seen == self._calls and self._last.bit_count() >= self._too_many
