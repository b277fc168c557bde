"""How many messages a second a provider is given: a token bucket on a clock that is handed in."""

from collections.abc import Callable


class Rate:
    """`per_second` tokens come evenly; at most a tenth of a second's worth, one at least, is saved up."""

    def __init__(self, per_second: float, *, clock: Callable[[], float]) -> None:
        self._per_second = per_second
        self._most = max(1.0, per_second / 10)
        self._clock = clock
        self._tokens = self._most
        self._counted_at = clock()

    def wait(self) -> float:
        """0: there is a token. Otherwise: the seconds until there is."""
        now = self._clock()
        self._tokens = min(self._most, self._tokens + max(0.0, now - self._counted_at) * self._per_second)
        self._counted_at = now
        return 0.0 if self._tokens >= _WHOLE else (1.0 - self._tokens) / self._per_second

    def take(self) -> None:
        """Only after `wait` said 0."""
        self._tokens -= 1.0


_WHOLE = 1.0 - 1e-9  # a token that rounding left a hair short is one
