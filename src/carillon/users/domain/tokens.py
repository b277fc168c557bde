"""What a caller is known by: accounts, access tokens, sessions, opaque tokens, and what each grants."""

import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Literal
from uuid import UUID

import msgspec

from carillon.contracts.people import Status
from carillon.kit.auth import CallerKind

Owner = Literal["user", "application"]
"""Of opaque tokens."""


@dataclass(frozen=True, slots=True)
class Account:
    """What a sign-in needs of a user; `second_factor`: the password alone does not open the account."""

    user_id: UUID
    status: Status
    password_hash: str | None
    token_version: int
    permissions: tuple[str, ...]
    second_factor: bool = False


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says of its bearer. `version` is the user's token version when it was issued."""

    user_id: UUID
    session_id: UUID
    version: int
    permissions: frozenset[str]
    expires_at: float


@dataclass(frozen=True, slots=True)
class SessionState:
    """A login that has not ended, and the user's present token version: a token of another version is void."""

    user_id: UUID
    token_version: int


@dataclass(frozen=True, slots=True)
class OpaqueToken:
    """A token row that is neither revoked nor expired, with what its owner may do at this moment."""

    secret_hash: bytes
    owner_id: UUID
    kind: CallerKind
    abilities: Sequence[str]
    permissions: Sequence[str]
    expires_at: float


@dataclass(frozen=True, slots=True)
class Granted:
    """What the bearer of a session may do from now on; `seconds_left` until the session's end, whatever happens."""

    user_id: UUID
    session_id: UUID
    token_version: int
    permissions: Sequence[str]
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Client:
    """From where a session was begun, for its owner to recognise; `user_agent` is as it was sent."""

    user_agent: str
    address: str


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A login as its owner sees it."""

    session_id: UUID
    created_at: datetime
    refreshed_at: datetime
    expires_at: datetime
    user_agent: str
    address: str
    current: bool


class OpaqueSeen(msgspec.Struct, frozen=True, kw_only=True):
    """An opaque token as its owner sees it: never the secret. `last_used_at` is true to a minute or two."""

    token_id: UUID
    name: str
    abilities: list[str]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewToken:
    """What is kept of a token that is made; it lives for `days`."""

    token_id: UUID
    name: str
    abilities: Sequence[str]
    secret_hash: bytes
    days: int


class Application(msgspec.Struct, frozen=True, kw_only=True):
    """A program that asks for notifications. `disabled_at`: none of its tokens works any more."""

    application_id: UUID
    name: str
    permissions: list[str]
    created_at: datetime
    disabled_at: datetime | None


@dataclass(frozen=True, slots=True)
class OpaqueParts:
    token_id: UUID
    secret: str


_OPAQUE = re.compile(r"crl_([0-9a-f]{32})_([A-Za-z0-9_\-]{43})([0-9a-f]{8})")


def opaque_text(parts: OpaqueParts) -> str:
    """`crl_<id>_<secret><crc32>`: the checksum lets nonsense be refused without asking the database."""
    body = f"crl_{parts.token_id.hex}_{parts.secret}"
    return f"{body}{zlib.crc32(body.encode()):08x}"


def opaque_parts(text: str) -> OpaqueParts | None:
    """None for what was never one of our tokens."""
    found = _OPAQUE.fullmatch(text)
    if found is None or zlib.crc32(text[:-8].encode()) != int(found[3], 16):
        return None
    return OpaqueParts(UUID(hex=found[1]), found[2])


SELF = ("self:read", "self:write")
"""What every person may do, to themselves; an opaque token of theirs may as far as it was made for it."""


def granted(abilities: Iterable[str], permissions: Iterable[str]) -> frozenset[str]:
    """What a token may do: its abilities, as far as its owner holds them; wildcards count on both sides."""
    asked, held = frozenset(abilities), frozenset(permissions)
    return frozenset(name for name in asked if covered(name, held)) | frozenset(
        name for name in held if covered(name, asked)
    )


def covered(name: str, by: frozenset[str]) -> bool:
    """Whether one of `by` is this permission, or a wildcard over it."""
    return name in by or any(wide.endswith("*") and fnmatchcase(name, wide) for wide in by)
