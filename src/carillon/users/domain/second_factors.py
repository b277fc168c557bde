"""Codes of an authenticator (RFC 6238: SHA-1, six digits, 30 seconds) and recovery codes: which are right, and how soon
another may be tried.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hmac import compare_digest
from typing import Final
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.hotp import HOTP
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from carillon.users.domain.tokens import Account

STEP_SECONDS: Final = 30
DIGITS: Final = 6
SECRET_BYTES: Final = 20
"""As many as SHA-1 has, which RFC 4226 recommends."""
RECOVERY_CODES: Final = 10
RECOVERY_BYTES: Final = 10
"""80 random bits: nobody guesses those, and no slow hash is needed."""
CHALLENGE_SECONDS: Final = 300.0
WAITS: Final[Sequence[float]] = (0, 0, 0, 0, 30, 60, 120, 240, 480, 960, 1_920, 3_600)
"""Seconds until the next try after so many failures in a row; the last for all that follow: 24 guesses a day."""
GUESSED_AT: Final = 5
"""Failures in a row from which on somebody is taken to guess."""
_ISSUER = "Carillon"
_FILLING = re.compile(r"[\s-]")


@dataclass(frozen=True, slots=True)
class Proof:
    """One of both: what an authenticator shows now, or a recovery code."""

    code: str | None
    recovery_code: str | None


@dataclass(frozen=True, slots=True)
class Try:
    """Leave to look at one code; it counts as the failure of this number until it is shown to be right."""

    factor_id: UUID
    secret: bytes
    last_step: int
    failures: int


@dataclass(frozen=True, slots=True)
class TooSoon:
    """No code is looked at for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """Whose login waits for a code, as they were when they showed the password."""

    account: Account
    email_key: str


class SecondFactor(msgspec.Struct, frozen=True, kw_only=True):
    """Whether logins of one's own need a code, since when, and how many recovery codes are left."""

    on: bool
    since: datetime | None
    recovery_codes_left: int


class Enrolment(msgspec.Struct, frozen=True):
    """What an authenticator takes, as text and as the address that a QR code holds. Shown once."""

    secret: str
    uri: str


class RecoveryCodes(msgspec.Struct, frozen=True):
    """Each opens the account once, with the password, in the place of a code. Shown once."""

    recovery_codes: list[str]


class SecondFactorAsked(msgspec.Struct, frozen=True):
    """The password was right: `POST /auth/login/second_factor` takes the challenge and a code, within `expires_in`
    seconds."""

    challenge: str
    expires_in: int


def enrolment(secret: bytes, account_name: str) -> Enrolment:
    shown = base64.b32encode(secret).decode()
    uri = TOTP(secret, DIGITS, SHA1(), STEP_SECONDS).get_provisioning_uri(account_name, _ISSUER)  # noqa: S303 - RFC 6238
    return Enrolment(shown, uri)


def code_at(secret: bytes, step: int) -> str:
    return HOTP(secret, DIGITS, SHA1()).generate(step).decode()  # noqa: S303 - RFC 6238; HMAC is not weakened


def right_step(code: str, secret: bytes, *, now: float, last_step: int) -> int | None:
    """The time step that the code is of: this one, the one before or the next, and later than `last_step`.

    None for a wrong code and for one that was used. `now` is a Unix time in seconds.
    """
    here, found = int(now // STEP_SECONDS), None
    for step in (here - 1, here, here + 1):
        if compare_digest(code_at(secret, step).encode(), code.encode()) and step > last_step:
            found = step
    return found


def recovery_text(random_bytes: bytes) -> str:
    """Sixteen letters and digits in groups of four."""
    text = base64.b32encode(random_bytes).decode().lower()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def recovery_hash(user_id: UUID, text: str) -> bytes:
    """What is kept of a recovery code; case, hyphens and spaces are nothing."""
    return hashlib.sha256(user_id.bytes + _FILLING.sub("", text).lower().encode()).digest()
