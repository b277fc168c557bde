"""Password hashes as text: argon2, bcrypt, PBKDF2 and scrypt, each read, and refused before it could cost too much."""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Literal

Scheme = Literal["argon2", "bcrypt", "pbkdf2", "scrypt"]

LONGEST_HASH = 512
MOST_MEMORY_KIB = 256 * 1024
_MOST_PASSES, _MOST_LANES = 20, 16
_MOST_BCRYPT_COST = 14
_MOST_ITERATIONS = 2_000_000
_MOST_SCRYPT_WORK_KIB = 1024 * 1024
_SALT_BYTES, _DIGEST_BYTES = range(8, 65), range(16, 65)

_ARGON2 = re.compile(
    r"\$argon2(?:id|i|d)\$v=(?:16|19)\$m=(\d{1,9}),t=(\d{1,9}),p=(\d{1,9})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)",
    re.ASCII,
)
_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}", re.ASCII)
_PBKDF2 = re.compile(
    r"\$pbkdf2-(sha256|sha512)\$(?:i=)?(\d{1,9})(?:,l=\d{1,3})?\$([A-Za-z0-9+/.]+)\$([A-Za-z0-9+/.]+)", re.ASCII
)
_DJANGO = re.compile(r"pbkdf2_(sha256|sha512)\$(\d{1,9})\$([^$\x00-\x20]{8,64})\$([A-Za-z0-9+/]+=*)", re.ASCII)
_SCRYPT = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,4}),p=(\d{1,4})\$([A-Za-z0-9+/.]+)\$([A-Za-z0-9+/.]+)", re.ASCII)


class HashRefused(ValueError):
    """The text is no hash of a known kind, or one that would cost too much to check."""


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """`salt` and `digest` are empty where a library reads `text` itself; `costs` are the scheme's own numbers."""

    scheme: Scheme
    text: str
    costs: tuple[int, ...]
    algorithm: str = ""
    salt: bytes = b""
    digest: bytes = b""


def read_hash(text: str) -> PasswordHash:
    """Raises HashRefused with the reason; nothing is computed."""
    if len(text) > LONGEST_HASH:
        raise HashRefused(f"a hash has at most {LONGEST_HASH} characters")
    for pattern, read in ((_ARGON2, _argon2), (_BCRYPT, _bcrypt), (_PBKDF2, _pbkdf2), (_DJANGO, _django)):
        if found := pattern.fullmatch(text):
            return read(found)
    if found := _SCRYPT.fullmatch(text):
        return _scrypt(found)
    raise HashRefused("no argon2, bcrypt, PBKDF2 or scrypt hash in a form that is known")


def _argon2(found: re.Match[str]) -> PasswordHash:
    memory, passes, lanes = (int(found[n]) for n in (1, 2, 3))
    _bound("argon2's memory in KiB", memory, 8 * max(lanes, 1), MOST_MEMORY_KIB)
    _bound("argon2's passes", passes, 1, _MOST_PASSES)
    _bound("argon2's lanes", lanes, 1, _MOST_LANES)
    salt, digest = _sized(_decoded(found[4]), _decoded(found[5]))
    return PasswordHash("argon2", found[0], (memory, passes, lanes), salt=salt, digest=digest)


def _bcrypt(found: re.Match[str]) -> PasswordHash:
    _bound("bcrypt's cost", int(found[1]), 4, _MOST_BCRYPT_COST)
    return PasswordHash("bcrypt", found[0], (int(found[1]),))


def _pbkdf2(found: re.Match[str]) -> PasswordHash:
    return _of_pbkdf2(found, *_sized(_decoded(found[3]), _decoded(found[4])))


def _django(found: re.Match[str]) -> PasswordHash:
    return _of_pbkdf2(found, *_sized(found[3].encode(), _decoded(found[4])))


def _of_pbkdf2(found: re.Match[str], salt: bytes, digest: bytes) -> PasswordHash:
    _bound("PBKDF2's iterations", int(found[2]), 1, _MOST_ITERATIONS)
    return PasswordHash("pbkdf2", found[0], (int(found[2]),), found[1], salt, digest)


def _scrypt(found: re.Match[str]) -> PasswordHash:
    power, block, lanes = (int(found[n]) for n in (1, 2, 3))
    _bound("scrypt's ln", power, 1, 20)
    _bound("scrypt's r", block, 1, 64)
    memory = (block << power) // 8
    _bound("scrypt's memory in KiB", memory, 0, MOST_MEMORY_KIB)
    _bound("scrypt's p", lanes, 1, _MOST_LANES)
    _bound("scrypt's memory times p in KiB", memory * lanes, 0, _MOST_SCRYPT_WORK_KIB)
    salt, digest = _sized(_decoded(found[4]), _decoded(found[5]))
    return PasswordHash("scrypt", found[0], (1 << power, block, lanes), salt=salt, digest=digest)


def _bound(what: str, number: int, least: int, most: int) -> None:
    if not least <= number <= most:
        raise HashRefused(f"{what}: {number} is not within {least} and {most}")


def _sized(salt: bytes, digest: bytes) -> tuple[bytes, bytes]:
    if len(salt) not in _SALT_BYTES or len(digest) not in _DIGEST_BYTES:
        raise HashRefused("its salt or its digest has an unusual length")
    return salt, digest


def _decoded(text: str) -> bytes:
    """Base64 with or without padding; `.` stands for `+` in some of these formats."""
    bare = text.rstrip("=").replace(".", "+")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except binascii.Error:
        raise HashRefused("its salt or its digest is no base64") from None
