"""Passkeys as values, and what can be said of a ceremony before anything is verified."""

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from carillon.users.domain.tokens import Account

CHALLENGE_BYTES: Final = 32
CEREMONY_SECONDS: Final = 300.0
MOST_PASSKEYS: Final = 20
_SHORTEST_CHALLENGE: Final = 16


class Passkey(msgspec.Struct, frozen=True, kw_only=True):
    """A passkey as its owner sees it."""

    passkey_id: UUID
    name: str
    created_at: datetime
    last_used_at: datetime | None


class Ceremony(msgspec.Struct, frozen=True):
    """What the browser takes as `publicKey`, in the JSON form of WebAuthn; good for `expires_in` seconds."""

    options: dict[str, Any]
    expires_in: int


@dataclass(frozen=True, slots=True)
class Credential:
    """What an authenticator made: how the passkey is found, what verifies it, and its count of signatures."""

    credential_id: bytes
    public_key: bytes
    sign_count: int


@dataclass(frozen=True, slots=True)
class KnownPasskey:
    """A passkey of somebody who may sign in, and they."""

    passkey_id: UUID
    public_key: bytes
    account: Account


class _ClientData(msgspec.Struct):
    challenge: str


def decoded(text: str) -> bytes | None:
    """Base64 for addresses, without its filling; None for what is none."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None


def challenge_of(client_data: str) -> bytes | None:
    """The challenge that a browser says it answers, to be looked up; whether it does is for the signature to say."""
    raw = decoded(client_data)
    try:
        said = None if raw is None else msgspec.json.decode(raw, type=_ClientData)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    challenge = None if said is None else decoded(said.challenge)
    return challenge if challenge and len(challenge) >= _SHORTEST_CHALLENGE else None
