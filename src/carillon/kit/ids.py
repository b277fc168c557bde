"""UUIDv7 keys (RFC 9562), made in Python because the oldest PostgreSQL we serve has no `uuidv7()`."""

import os
import time
from datetime import UTC, datetime
from uuid import UUID

_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62
_RANDOM_A = 0xFFF << 64
_RANDOM_B = (1 << 62) - 1


def uuid7(milliseconds: int | None = None) -> UUID:
    """A key that sorts by its time of birth; `milliseconds` since the epoch, now if absent."""
    now = time.time_ns() // 1_000_000 if milliseconds is None else milliseconds
    noise = int.from_bytes(os.urandom(10), "big")
    return UUID(int=(now & (1 << 48) - 1) << 80 | _VERSION | (noise & _RANDOM_A) | _VARIANT | (noise & _RANDOM_B))


def born_at(key: UUID) -> datetime:
    """The time that a UUIDv7 carries, to the millisecond."""
    return datetime.fromtimestamp((key.int >> 80) / 1000, UTC)


def first_key_of(moment: datetime) -> UUID:
    """The smallest UUIDv7 of a moment: the bound of a range of keys."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)
