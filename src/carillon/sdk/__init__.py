"""The client for applications: sign in, notify, ask what became of it. `Carillon` waits, `AsyncCarillon` is awaited."""

from carillon.sdk.asynchronous import AsyncCarillon, Page
from carillon.sdk.blocking import Carillon
from carillon.sdk.errors import (
    CarillonError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Refused,
    TooMany,
    Unauthorized,
    Unreachable,
)
from carillon.sdk.exchange import Patience

__all__ = [
    "AsyncCarillon",
    "Carillon",
    "CarillonError",
    "Conflict",
    "Forbidden",
    "Invalid",
    "NotFound",
    "Page",
    "Patience",
    "Refused",
    "TooMany",
    "Unauthorized",
    "Unreachable",
]
