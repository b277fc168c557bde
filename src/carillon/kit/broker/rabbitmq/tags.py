"""Which deliveries of a channel are unsettled, and how to acknowledge with few frames and never too much; pure."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Acks:
    """Acknowledge everything up to `multiple` (None: nothing), then each of `singles`."""

    multiple: int | None
    singles: tuple[int, ...]


class Tags:
    """Delivery tags in the order they came, which is ascending."""

    def __init__(self) -> None:
        self._unsettled: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._unsettled)

    def delivered(self, tag: int) -> None:
        self._unsettled[tag] = None

    def take(self, tags: Iterable[int]) -> list[int]:
        """Take out those that are unsettled still, to settle them one by one."""
        taken = sorted(tag for tag in tags if tag in self._unsettled)
        for tag in taken:
            del self._unsettled[tag]
        return taken

    def acks(self, tags: Iterable[int]) -> Acks:
        """Settle `tags`: one multiple-ack below the lowest tag that is still unsettled, single ones above it."""
        settled = self.take(tags)
        lowest = next(iter(self._unsettled), None)
        below = settled if lowest is None else [tag for tag in settled if tag < lowest]
        return Acks(below[-1] if below else None, tuple(settled[len(below) :]))
