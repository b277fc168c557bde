"""The correlation id of the work in hand: taken from the caller or made, carried through HTTP and the queue."""

import re
from contextvars import ContextVar

from carillon.kit.ids import uuid7_hex

HEADER = "X-Correlation-ID"
_ACCEPTED = re.compile(r"[A-Za-z0-9._\-]{1,128}")

_current: ContextVar[str] = ContextVar("correlation_id", default="")


def current() -> str:
    """The id of the work in hand, empty outside any."""
    return _current.get()


def bind(given: str | None) -> str:
    """Adopt the caller's id where it is well formed, else make one; it holds for this task and those it starts."""
    identity = accepted(given)
    _current.set(identity)
    return identity


def accepted(given: str | None) -> str:
    """The caller's id where it is well formed, else a new one; nothing is bound."""
    return given if given and _ACCEPTED.fullmatch(given) else uuid7_hex()
