"""What a log may say of a crash: its type and its place; an exception's words may quote an address or a body."""

import traceback
from collections.abc import Mapping
from typing import Any


def told(error: BaseException) -> Mapping[str, Any]:
    """Fields for a log line."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    return {
        "error": type(error).__name__,
        "where": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
