"""UUIDv7 keys (RFC 9562), made in Python because the oldest PostgreSQL we serve has no `uuidv7()`."""

import os
import time
from datetime import UTC, datetime
from functools import lru_cache
from uuid import UUID, SafeUUID

_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62
_RANDOM_A = 0xFFF << 64
_RANDOM_B = (1 << 62) - 1
_WIDTH = 10


_FETCHED = 256
_noise: list[int] = []
"""Random bits fetched ahead: a system call for each key costs more than the key. Taking one is atomic."""
os.register_at_fork(after_in_child=_noise.clear)
_new, _set = object.__new__, object.__setattr__


def uuid7(milliseconds: int | None = None) -> UUID:
    """A key that sorts by its time of birth; `milliseconds` since the epoch, now if absent."""
    key = _new(UUID)  # what the constructor does for an integer, without its questions: a third of the time
    _set(key, "int", _value(time.time_ns() // 1_000_000 if milliseconds is None else milliseconds))
    _set(key, "is_safe", SafeUUID.unknown)
    return key


def uuid7_hex() -> str:
    """A new key as 32 digits, for those who want no more than the text."""
    return f"{_value(time.time_ns() // 1_000_000):032x}"


def _value(milliseconds: int) -> int:
    noise = _random()
    return (milliseconds & (1 << 48) - 1) << 80 | _VERSION | (noise & _RANDOM_A) | _VARIANT | (noise & _RANDOM_B)


def _random() -> int:
    while True:
        try:
            return _noise.pop()
        except IndexError:
            fetched = os.urandom(_WIDTH * _FETCHED)
            _noise.extend(int.from_bytes(fetched[at : at + _WIDTH], "big") for at in range(0, len(fetched), _WIDTH))


def born_at(key: UUID) -> datetime:
    """The time that a UUIDv7 carries, to the millisecond."""
    return _moment(milliseconds_of(key))


@lru_cache(maxsize=16)  # many are born in one millisecond
def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def milliseconds_of(key: UUID) -> int:
    """The same, in milliseconds since the epoch."""
    return key.int >> 80


def first_key_of(moment: datetime) -> UUID:
    """The smallest UUIDv7 of a moment: the bound of a range of keys."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)
