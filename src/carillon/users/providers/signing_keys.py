"""The file of signing keys: PEM blocks, of which text between them tells from when on the next one signs."""

import base64
import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from carillon.kit.settings import SettingsError

_BLOCK = re.compile(
    r"(?P<text>(?:(?!-----BEGIN)[\s\S])*)(?P<pem>-----BEGIN [A-Z ]+-----[\s\S]*?-----END [A-Z ]+-----)[ \t]*\n?"
)
_SIGNS_FROM = re.compile(r"^signs from (?P<time>\S+)[ \t]*$", re.MULTILINE)
ALWAYS = -math.inf
LEAD_SECONDS = 60.0
"""Between the making of a key and its first signature: every process has read it by then."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key and the Unix time from when on it signs, unless a later one does."""

    private: Ed25519PrivateKey
    signs_from: float = ALWAYS

    @property
    def kid(self) -> str:
        """RFC 7638 of an Ed25519 key."""
        return _base64(hashlib.sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{self.x}"}}'.encode()).digest())

    @property
    def x(self) -> str:
        return _base64(
            self.private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        )


def signing_now(keys: Sequence[SigningKey], now: float) -> SigningKey:
    """The one with the latest time that has come; before every time, the one that comes first."""
    begun = [key for key in keys if key.signs_from <= now]
    return max(begun, key=lambda key: key.signs_from) if begun else min(keys, key=lambda key: key.signs_from)


def described(keys: Sequence[SigningKey], now: float) -> list[str]:
    """A line for people for each key, without its secret, by the time from when on they sign."""
    signing = signing_now(keys, now)
    lines = []
    for key in sorted(keys, key=lambda key: key.signs_from):
        state = "signs" if key is signing else "will sign" if key.signs_from > now else "verifies"
        lines.append(f"{key.kid}  {state}, from {'always' if key.signs_from == ALWAYS else _iso(key.signs_from)} on")
    return lines


def with_new_key(
    keys: Sequence[SigningKey], *, now: float, lead_seconds: float, life_seconds: float
) -> list[SigningKey]:
    """One more key, that signs in `lead_seconds`; without those whose last token ended `lead_seconds` ago.

    A key is superseded when a later one begins to sign; what it signed lives for `life_seconds` after that.
    """
    ordered = sorted(keys, key=lambda key: key.signs_from)
    superseded = [*(later.signs_from for later in ordered[1:]), math.inf]
    kept = [key for key, end in zip(ordered, superseded, strict=True) if end + life_seconds + lead_seconds > now]
    return [*kept, SigningKey(Ed25519PrivateKey.generate(), math.ceil(now + lead_seconds))]


def rendered(keys: Sequence[SigningKey]) -> bytes:
    """What the file holds; RFC 7468 lets text stand between the blocks."""
    return b"\n".join(_heading(key) + _pem(key.private) for key in keys)


def read_signing_keys(path: Path) -> list[SigningKey]:
    """Raises SettingsError that says what to do when the file is missing or holds anything but Ed25519 keys."""
    try:
        return parsed(path.read_bytes())
    except OSError as error:
        raise SettingsError(
            f"CARILLON_USERS_SIGNING_KEY_FILE: {path} cannot be read ({error.strerror}). "
            "`carillon migrate` makes it; every users process needs the same file."
        ) from None
    except (ValueError, TypeError) as error:
        raise SettingsError(f"CARILLON_USERS_SIGNING_KEY_FILE: {path} {error}") from None


def parsed(content: bytes) -> list[SigningKey]:
    """Raises ValueError with a sentence that quotes nothing of the file."""
    keys: list[SigningKey] = []
    text, end = content.decode("ascii", "replace"), 0
    while found := _BLOCK.match(text, end):
        keys.append(SigningKey(_private(found["pem"]), _time(found["text"])))
        end = found.end()
    if not keys or "-----BEGIN" in text[end:]:
        raise ValueError("holds no PEM key without a password, or one that is cut off.")
    if len({key.kid for key in keys}) < len(keys):
        raise ValueError("holds the same key twice.")
    return keys


def new_keys() -> bytes:
    """The content of a first file: one key, that signs from always."""
    return rendered([SigningKey(Ed25519PrivateKey.generate())])


def _private(pem: str) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):
        raise ValueError("holds a block that is no PEM key without a password.") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("holds a key of another kind than Ed25519.")  # noqa: TRY004 - the content of a file
    return key


def _time(text: str) -> float:
    """Of the text before a block; a key without one signs from always."""
    found = _SIGNS_FROM.findall(text.replace("\r\n", "\n"))
    if not found:
        if "signs from" in text:
            raise ValueError("says `signs from` without a time: signs from 2030-01-31T12:00:00Z.")
        return ALWAYS
    try:
        at = datetime.fromisoformat(found[-1])
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise ValueError("says `signs from` with no ISO time in UTC after it: signs from 2030-01-31T12:00:00Z.")
    return at.timestamp()


def _heading(key: SigningKey) -> bytes:
    if key.signs_from == ALWAYS:
        return b""
    return f"signs from {_iso(key.signs_from)}\n".encode()


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
