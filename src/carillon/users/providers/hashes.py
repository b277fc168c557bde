"""Whether a password fits a hash, whoever made it; every kind is bounded in cost before anything is computed."""

import hashlib
from hmac import compare_digest

import bcrypt
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from carillon.users.domain.hashes import HashRefused, PasswordHash, read_hash

_LONGEST_FOR_BCRYPT = 72
_SLACK = 1 << 20


def fits(hasher: PasswordHasher, kept: str, password: str) -> bool:
    """False for a wrong password and for a hash that cannot be read."""
    try:
        known = read_hash(kept)
    except HashRefused:
        return False
    if "\x00" in password:  # no password holds it, and PBKDF2 and scrypt would not see it at the end of one
        return False
    given = password.encode()
    match known.scheme:
        case "argon2":
            return _argon2(hasher, known, password)
        case "bcrypt":
            # bcrypt looks at 72 bytes: two longer passwords that begin alike would both open the account.
            return len(given) <= _LONGEST_FOR_BCRYPT and bcrypt.checkpw(given, known.text.encode())
        case "pbkdf2":
            return compare_digest(known.digest, _pbkdf2(known, given))
        case "scrypt":
            return compare_digest(known.digest, _scrypt(known, given))


def _argon2(hasher: PasswordHasher, known: PasswordHash, password: str) -> bool:
    try:
        return hasher.verify(known.text, password)
    except (VerificationError, InvalidHashError):
        return False


def _pbkdf2(known: PasswordHash, given: bytes) -> bytes:
    return hashlib.pbkdf2_hmac(known.algorithm, given, known.salt, known.costs[0], len(known.digest))


def _scrypt(known: PasswordHash, given: bytes) -> bytes:
    n, r, p = known.costs
    memory = 128 * r * (n + p) + _SLACK
    return hashlib.scrypt(given, salt=known.salt, n=n, r=r, p=p, maxmem=memory, dklen=len(known.digest))
