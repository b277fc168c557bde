"""The retry ladder: which rungs there are, what they are called, and which one a delay takes; pure."""

from collections.abc import Sequence
from typing import Final

UNITS: Final = ((3_600_000, "h"), (60_000, "min"), (1_000, "s"), (1, "ms"))


def milliseconds(delay: float) -> int:
    return max(1, round(delay * 1_000))


def label(delay: float) -> str:
    """Name a delay in the largest unit that fits it whole: 5 is 5s, 120 is 2min, 0.2 is 200ms."""
    total = milliseconds(delay)
    size, unit = next((size, unit) for size, unit in UNITS if total % size == 0)
    return f"{total // size}{unit}"


def rung(delays: Sequence[float], delay: float) -> float:
    """Round up to the next rung; what is longer than the ladder waits on its longest rung."""
    return next((step for step in delays if step >= delay), delays[-1])


def rung_name(retry_exchange: str, delay: float) -> str:
    """Both the fanout exchange of a rung and its queue."""
    return f"{retry_exchange}.{label(delay)}"
