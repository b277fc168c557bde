"""Access tokens: EdDSA JWTs that other services verify with the published key, without asking."""

import base64
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from carillon.contracts.users import AUDIENCE, ISSUER, TOKEN_TYPE
from carillon.kit.errors import Unauthenticated
from carillon.kit.settings import SettingsError
from carillon.users.domain.tokens import Claims

_ALGORITHM = "EdDSA"
_REQUIRED = ["iss", "aud", "sub", "sid", "ver", "scope", "iat", "exp"]
_REFUSAL = "The access token is not valid, or it has expired: log in again."


class AccessTokens:
    """Signs and verifies with one Ed25519 key; `clock` gives Unix seconds."""

    def __init__(self, key: Ed25519PrivateKey, *, seconds: int, clock: Callable[[], float]) -> None:
        self.seconds = seconds
        self._key = key
        self._public = key.public_key()
        self._clock = clock
        self._jwk = _public_jwk(key)

    def jwks(self) -> dict[str, Any]:
        """RFC 7517, for `/.well-known/jwks.json`."""
        return {"keys": [self._jwk]}

    def signed(self, *, user_id: UUID, session_id: UUID, version: int, permissions: Sequence[str]) -> str:
        now = int(self._clock())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(user_id),
            "sid": str(session_id),
            "ver": version,
            "scope": " ".join(sorted(permissions)),
            "iat": now,
            "exp": now + self.seconds,
        }
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM, headers={"typ": TOKEN_TYPE, "kid": self._jwk["kid"]})

    def verified(self, token: str) -> Claims:
        """Raises Unauthenticated for another key, algorithm, type, issuer or audience, and after its time."""
        try:
            whole = jwt.decode_complete(
                token,
                self._public,
                algorithms=[_ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False},
            )
            claims = _claims(whole["payload"])
        except (jwt.InvalidTokenError, ValueError, TypeError, AttributeError):
            raise Unauthenticated(_REFUSAL) from None
        header = whole["header"]
        if (
            header.get("typ") != TOKEN_TYPE
            or header.get("kid") != self._jwk["kid"]
            or claims.expires_at <= self._clock()
        ):
            raise Unauthenticated(_REFUSAL)
        return claims


def _claims(payload: dict[str, Any]) -> Claims:
    return Claims(
        user_id=UUID(payload["sub"]),
        session_id=UUID(payload["sid"]),
        version=int(payload["ver"]),
        permissions=frozenset(payload["scope"].split()),
        expires_at=float(payload["exp"]),
    )


def _public_jwk(key: Ed25519PrivateKey) -> dict[str, str]:
    raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    x = _base64(raw)
    thumbprint = hashlib.sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'.encode()).digest()
    return {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": _base64(thumbprint), "use": "sig", "alg": _ALGORITHM}


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def new_key_pem() -> bytes:
    """A fresh signing key as PKCS 8."""
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def read_signing_key(path: Path) -> Ed25519PrivateKey:
    """Raises SettingsError that says what to do when the file is missing or holds no Ed25519 key."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise SettingsError(
            f"CARILLON_USERS_SIGNING_KEY_FILE: {path} cannot be read ({error.strerror}). "
            "`carillon migrate` makes it; every users process needs the same file."
        ) from None
    except (ValueError, TypeError):
        raise SettingsError(f"CARILLON_USERS_SIGNING_KEY_FILE: {path} holds no PEM key without a password.") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(f"CARILLON_USERS_SIGNING_KEY_FILE: {path} holds a key of another kind than Ed25519.")
    return key
