"""What the simulators do: keep mails and pushes, show them, hand out access tokens, forget the oldest."""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

SCOPES: Final = frozenset(
    {"https://www.googleapis.com/auth/firebase.messaging", "https://www.googleapis.com/auth/cloud-platform"}
)
GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LONGEST_ASSERTION = 3600
_LEEWAY = 60


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail as it came: the envelope's sender and recipients, and the bytes."""

    sender: str
    recipients: list[str]
    raw: bytes


@dataclass(frozen=True, slots=True)
class KeptMail:
    mail_id: UUID
    received_at: datetime
    mail: Mail


@dataclass(frozen=True, slots=True)
class Push:
    """One message that the push provider took."""

    push_id: UUID
    project: str
    token: str | None
    message: dict[str, Any]

    @property
    def name(self) -> str:
        return f"projects/{self.project}/messages/{self.push_id}"


@dataclass(frozen=True, slots=True)
class KeptPush:
    received_at: datetime
    push: Push


class Captured(Protocol):
    """What was captured; newest first."""

    async def keep_mails(self, mails: Sequence[Mail]) -> Sequence[UUID | Exception]: ...

    async def keep_pushes(self, pushes: Sequence[Push]) -> Sequence[UUID | Exception]: ...

    async def mails(self, recipient: str | None, *, limit: int, offset: int) -> tuple[list[KeptMail], int]: ...

    async def mail(self, mail_id: UUID) -> KeptMail | None: ...

    async def pushes(self, token: str | None, *, limit: int, offset: int) -> tuple[list[KeptPush], int]: ...

    async def empty_mails(self) -> int: ...

    async def trim(self, keep: int) -> int: ...


class AccessRefused(Exception):
    """An assertion that Google would refuse; `error` is OAuth's code, the sentence says why."""

    def __init__(self, error: str, reason: str) -> None:
        super().__init__(reason)
        self.error = error


class AccessTokens:
    """Bearer tokens for the holder of a service account's key, known to this process until they expire."""

    def __init__(
        self,
        key: RSAPublicKey,
        *,
        email: str,
        audience: str,
        seconds: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._key = key
        self._email = email
        self._audience = audience
        self._clock = clock
        self.seconds = seconds
        self._until: dict[str, float] = {}

    def grant(self, grant_type: str, assertion: str) -> str:
        """A new access token for a signed assertion. Raises AccessRefused."""
        if grant_type != GRANT:
            raise AccessRefused("unsupported_grant_type", "Invalid grant_type")
        claims = self._verified(assertion)
        if not SCOPES & set(str(claims.get("scope", "")).split()):
            raise AccessRefused("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        now = self._clock()
        self._until = {token: until for token, until in self._until.items() if until > now}
        token = f"ya29.{secrets.token_urlsafe(32)}"
        self._until[token] = now + self.seconds
        return token

    def knows(self, token: str) -> bool:
        return self._until.get(token, 0) > self._clock()

    def _verified(self, assertion: str) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                assertion,
                self._key,
                algorithms=["RS256"],
                audience=self._audience,
                issuer=self._email,
                options={"require": ["iss", "aud", "iat", "exp"], "verify_exp": False, "verify_iat": False},
            )
        except jwt.PyJWTError as error:
            raise AccessRefused("invalid_grant", f"Invalid JWT: {error}") from None
        issued, expires, now = claims["iat"], claims["exp"], self._clock()
        if not (isinstance(issued, int | float) and isinstance(expires, int | float)):
            raise AccessRefused("invalid_grant", "Invalid JWT: iat and exp are numbers of seconds")
        if not (issued - _LEEWAY <= now < expires + _LEEWAY and 0 < expires - issued <= _LONGEST_ASSERTION):
            raise AccessRefused(
                "invalid_grant",
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
                "Check your iat and exp values in the JWT claim.",
            )
        return claims
