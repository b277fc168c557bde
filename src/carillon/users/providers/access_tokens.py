"""Access tokens: EdDSA JWTs that other services verify with the published keys, without asking."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import jwt

from carillon.clients.access_tokens import ALGORITHM, key_id, verified
from carillon.contracts.users import AUDIENCE, ISSUER, TOKEN_TYPE
from carillon.users.domain.tokens import Claims
from carillon.users.providers.signing_keys import SigningKey, signing_now


class AccessTokens:
    """Signs with the key whose time it is, verifies with all of them; `clock` gives Unix seconds."""

    def __init__(self, keys: Sequence[SigningKey], *, seconds: int, clock: Callable[[], float]) -> None:
        self.seconds = seconds
        self._clock = clock
        self.use(keys)

    def use(self, keys: Sequence[SigningKey]) -> None:
        """From now on these, and no others."""
        self._keys = {key.kid: key for key in keys}
        self._public = {kid: key.private.public_key() for kid, key in self._keys.items()}

    def jwks(self) -> dict[str, Any]:
        """RFC 7517, for `/.well-known/jwks.json`: the keys that sign, signed or will sign."""
        return {
            "keys": [
                {"kty": "OKP", "crv": "Ed25519", "x": key.x, "kid": kid, "use": "sig", "alg": ALGORITHM}
                for kid, key in self._keys.items()
            ]
        }

    def signed(
        self,
        *,
        user_id: UUID,
        session_id: UUID,
        version: int,
        permissions: Sequence[str],
        seconds: int | None = None,
    ) -> str:
        """`seconds`: a life shorter than usual, for the last token of a session."""
        now = int(self._clock())
        key = signing_now(list(self._keys.values()), now)
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(user_id),
            "sid": str(session_id),
            "ver": version,
            "scope": " ".join(sorted(permissions)),
            "iat": now,
            "exp": now + (self.seconds if seconds is None else min(seconds, self.seconds)),
        }
        return jwt.encode(claims, key.private, algorithm=ALGORITHM, headers={"typ": TOKEN_TYPE, "kid": key.kid})

    def verified(self, token: str) -> Claims:
        """Raises Unauthenticated for another key, algorithm, type, issuer or audience, and outside of its time."""
        claims = verified(token, self._public.get(key_id(token)), now=self._clock())
        return Claims(
            user_id=claims.sub,
            session_id=claims.sid,
            version=claims.ver,
            permissions=frozenset(claims.scope.split()),
            expires_at=claims.exp,
        )
