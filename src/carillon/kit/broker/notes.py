"""What the broker writes into a message's headers when it is retried or dies; pure."""

from collections.abc import Mapping
from datetime import UTC, datetime

from carillon.kit.broker.port import (
    DEAD_AT_HEADER,
    PUBLISHED_AT_HEADER,
    REASON_HEADER,
    RETRIES_HEADER,
    SOURCE_QUEUE_HEADER,
)

LONGEST_COUNT = 9


def retries_of(headers: Mapping[str, str]) -> int:
    """How many retries the headers tell of."""
    return count_of(headers, RETRIES_HEADER)


def count_of(headers: Mapping[str, str], name: str) -> int:
    """The count in a header; a hint, so what cannot be read counts as none."""
    value = headers.get(name, "0")
    return int(value) if value.isascii() and value.isdigit() and len(value) <= LONGEST_COUNT else 0


def retried(headers: Mapping[str, str], *, reason: str, more: Mapping[str, str] | None = None) -> dict[str, str]:
    return {**headers, **(more or {}), REASON_HEADER: reason, RETRIES_HEADER: str(retries_of(headers) + 1)}


def dead(
    headers: Mapping[str, str],
    *,
    reason: str,
    queue: str,
    published_at: datetime | None,
    now: datetime,
    more: Mapping[str, str] | None = None,
) -> dict[str, str]:
    noted = {
        **headers,
        **(more or {}),
        REASON_HEADER: reason,
        SOURCE_QUEUE_HEADER: queue,
        DEAD_AT_HEADER: timestamp(now),
    }
    if published_at is not None:
        noted[PUBLISHED_AT_HEADER] = timestamp(published_at)
    return noted


def timestamp(moment: datetime) -> str:
    """ISO 8601 in UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
