"""`Idempotency-Key`: what a client may send with a create, so that trying again makes nothing twice."""

import hashlib
from collections.abc import Collection
from typing import Annotated, Any, TypeAlias

import msgspec
from litestar.params import HeaderParameter

IdempotencyKey: TypeAlias = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+(?!\n)$",
        description="The same key with the same body makes one thing, and answers with it again for 24 hours",
    ),
]
"""The type of a route's parameter `idempotency_key`; its default is None."""

REPLAYED = {"Idempotency-Replayed": "true"}
"""Goes with an answer that made nothing new."""


def fingerprint(route: str, body: msgspec.Struct, *, without: Collection[str] = ()) -> bytes:
    """A hash of what is asked for; `without` names the fields that are secrets, of which no hash is kept."""
    asked: dict[str, Any] = msgspec.to_builtins(body)
    kept = {name: value for name, value in asked.items() if name not in without}
    return hashlib.sha256(msgspec.json.encode([route, kept], order="sorted")).digest()
