"""Refresh tokens: a chain of secrets per session, each derived from the one before, of which only the newest is kept.

secret(n + 1) = HMAC-SHA256(the session's salt, secret(n)). So the answer of a rotation can be given again, and a
spent token be told from an invented one, without keeping what was spent.
"""

import base64
import hashlib
import hmac
import re
import zlib
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

MOST_STEPS = 10_000
"""How far back a replay is recognised: more rotations than a session of 30 days makes; 15 ms of hashing."""
MOST_AGENT = 200
_REFRESH = re.compile(r"crr_([0-9a-f]{32})_(0|[1-9][0-9]{0,8})_([A-Za-z0-9_\-]{43})([0-9a-f]{8})")

Verdict = Literal["newest", "repeated", "reused", "invented"]


@dataclass(frozen=True, slots=True)
class RefreshParts:
    session_id: UUID
    generation: int
    secret: str


@dataclass(frozen=True, slots=True)
class Chain:
    """What a session keeps of its refresh tokens; `age` is of the last rotation, in seconds."""

    newest_hash: bytes
    salt: bytes
    generation: int
    age: float


def refresh_text(parts: RefreshParts) -> str:
    """`crr_<session>_<generation>_<secret><crc32>`: nonsense is refused without asking the database."""
    body = f"crr_{parts.session_id.hex}_{parts.generation}_{parts.secret}"
    return f"{body}{zlib.crc32(body.encode()):08x}"


def refresh_parts(text: str) -> RefreshParts | None:
    """None for what was never one of our tokens."""
    found = _REFRESH.fullmatch(text)
    if found is None or zlib.crc32(text[:-8].encode()) != int(found[4], 16):
        return None
    return RefreshParts(UUID(hex=found[1]), int(found[2]), found[3])


def successor(salt: bytes, secret: str) -> str:
    """The secret that follows; without the salt nobody can tell it."""
    return base64.urlsafe_b64encode(hmac.digest(salt, secret.encode(), "sha256")).rstrip(b"=").decode()


def refresh_hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def judged(parts: RefreshParts, chain: Chain, *, grace_seconds: float) -> Verdict:
    """`repeated` is the token before the newest, shown again while a client's other requests may still be under way.

    `reused` was genuine once and is shown by somebody who should have a newer one.
    """
    behind = chain.generation - parts.generation
    if not 0 <= behind <= MOST_STEPS:
        return "invented"
    secret = parts.secret
    for _ in range(behind):
        secret = successor(chain.salt, secret)
    if not hmac.compare_digest(refresh_hash(secret), chain.newest_hash):
        return "invented"
    if behind == 0:
        return "newest"
    return "repeated" if behind == 1 and chain.age <= grace_seconds else "reused"


def shown_agent(text: str) -> str:
    """What is kept of a `User-Agent`: printable and short."""
    return "".join(letter for letter in text if letter.isprintable())[:MOST_AGENT]
