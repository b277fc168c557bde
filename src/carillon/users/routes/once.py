"""A create with an `Idempotency-Key`: whose it is, and what it asks for."""

import hashlib
from collections.abc import Collection

import msgspec

from carillon.kit.http.access import ApiRequest
from carillon.kit.http.idempotency import fingerprint
from carillon.users.domain.idempotency import Once


def once_of(
    request: ApiRequest,
    key: str | None,
    body: msgspec.Struct,
    *,
    makes: str,
    without: Collection[str] = (),
    caller: str | None = None,
) -> Once | None:
    """None without a key. `makes` names the kind of thing, `without` the secret fields of the body.

    `caller` is for what anybody may make: what stands for them instead of a token.
    """
    if key is None:
        return None
    who = f"caller:{request.auth.caller_id}" if caller is None else f"anybody:{caller}"
    return Once(hashlib.sha256(who.encode()).digest(), key, fingerprint(makes, body, without=without))
