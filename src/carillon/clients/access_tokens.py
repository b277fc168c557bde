"""The one check of an access token, for the users service and for all who verify away from it."""

from typing import Literal
from uuid import UUID

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from carillon.contracts.users import LONGEST_TOKEN, TOKEN_TYPE
from carillon.kit.errors import Unauthenticated

ALGORITHM = "EdDSA"
_REFUSAL = "The access token is not valid, or it has expired: log in again."
_JWS = jwt.PyJWS(algorithms=[ALGORITHM])


class AccessClaims(msgspec.Struct, frozen=True):
    """What a token says; times are Unix seconds. A number written as text is no number."""

    iss: Literal["carillon"]
    aud: Literal["carillon"]
    sub: UUID
    sid: UUID
    ver: int
    scope: str
    iat: float
    exp: float
    nbf: float = 0


def key_id(token: str) -> str:
    """Which key is said to have signed. Raises Unauthenticated.

    A header of ours says three things. One that says more (`crit`, `jku`, `jwk`, `x5u`, …) is none of ours: what it
    asks for is neither done nor looked at.
    """
    if len(token) > LONGEST_TOKEN or "=" in token:  # the library takes padding, RFC 7515 does not
        raise Unauthenticated(_REFUSAL)
    try:
        header = _JWS.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise Unauthenticated(_REFUSAL) from error
    kid = header.get("kid")
    if header.keys() != {"alg", "typ", "kid"} or (header["alg"], header["typ"]) != (ALGORITHM, TOKEN_TYPE):
        raise Unauthenticated(_REFUSAL)
    if not isinstance(kid, str):
        raise Unauthenticated(_REFUSAL)
    return kid


def verified(token: str, key: Ed25519PublicKey | None, *, now: float) -> AccessClaims:
    """Raises Unauthenticated for another signature, issuer or audience, and outside of its time."""
    if key is None:
        raise Unauthenticated(_REFUSAL)
    try:
        payload = _JWS.decode(token, key, algorithms=[ALGORITHM])
        claims = msgspec.json.decode(payload, type=AccessClaims)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        raise Unauthenticated(_REFUSAL) from error
    if not claims.nbf <= now < claims.exp:
        raise Unauthenticated(_REFUSAL)
    return claims
