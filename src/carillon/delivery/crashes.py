"""A crash over a message: how many it has had travels with it; a log tells its type and its place.

An exception's words may quote an address or a body, so they are told to nobody.
"""

import traceback
from collections.abc import Mapping
from typing import Any

from carillon.kit.broker import notes

HEADER = "x-carillon-crashes"
"""How often a message has crashed its worker. Waits are not crashes, however many the broker has counted."""


def counted(headers: Mapping[str, str]) -> int:
    return notes.count_of(headers, HEADER)


def told(error: BaseException) -> Mapping[str, Any]:
    """Fields for a log line."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    return {
        "error": type(error).__name__,
        "where": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
