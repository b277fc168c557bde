"""A create that is to happen once."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Once:
    """The same `key` of the same `caller` makes one thing; `fingerprint` is a hash of what was asked for."""

    caller: bytes
    key: str
    fingerprint: bytes
