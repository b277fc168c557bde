"""Verifying callers away from the users service: JWTs by its cached keys, opaque tokens by asking."""

import math
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import jwt
import msgspec

from carillon.contracts.users import (
    AUDIENCE,
    ISSUER,
    LONGEST_TOKEN,
    OPAQUE_PREFIX,
    TOKEN_TYPE,
    Introspection,
    TokenToIntrospect,
)
from carillon.kit.auth import Authenticator, Caller
from carillon.kit.cache import Cache
from carillon.kit.errors import Unauthenticated, Unavailable
from carillon.kit.http.client import ServiceClient, ServiceRefused, ServiceUnavailable
from carillon.kit.remembered_tokens import RememberedTokens

_REMEMBERED = 60.0
_WHILE_AWAY = 600.0
_KEYS_FRESH = 300.0
_KEYS_STALE = 86_400.0
_ASK_FOR_NEW_KEYS_EVERY = 5.0


class SigningKeys:
    """The users service's public keys by `kid`, renewed every 5 min and for an unknown `kid`."""

    def __init__(self, client: ServiceClient, *, service: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._renewed = -math.inf
        self._cache: Cache[str, dict[str, jwt.PyJWK]] = Cache(
            service=service,
            name="signing_keys",
            fresh_seconds=_KEYS_FRESH,
            stale_seconds=_KEYS_STALE,
            away=(ServiceUnavailable,),
            clock=clock,
        )

    async def key(self, kid: str) -> jwt.PyJWK | None:
        """None: no such key. Raises ServiceUnavailable when users is away and cannot be asked for it."""
        keys = (await self._cache.get("keys", self._fetch)).value
        if kid not in keys and self._clock() - self._renewed >= _ASK_FOR_NEW_KEYS_EVERY:
            keys = await self._cache.renew("keys", self._fetch)
            self._renewed = self._clock()
        return keys.get(kid)

    async def _fetch(self) -> dict[str, jwt.PyJWK]:
        answer = await self._client.call("GET", "/.well-known/jwks.json")
        try:
            found = jwt.PyJWKSet.from_dict(msgspec.json.decode(answer.body, type=dict[str, Any]))
        except (msgspec.DecodeError, jwt.PyJWTError) as error:
            raise ServiceUnavailable("users answered something else than its keys") from error
        return {key.key_id: key for key in found.keys if key.key_id}


def remote_authenticator(client: ServiceClient, *, service: str) -> Authenticator:
    """Takes both kinds of token. Raises Unauthenticated for a bad one, Unavailable when nobody can tell."""
    keys = SigningKeys(client, service=service)
    signed = RememberedTokens(_Signed(keys), service=service, name="signed_tokens", seconds=_REMEMBERED)
    opaque = RememberedTokens(
        _Opaque(client), service=service, name="opaque_tokens", seconds=_REMEMBERED, stale_seconds=_WHILE_AWAY
    )

    async def authenticate(token: str) -> Caller:
        if len(token) > LONGEST_TOKEN:
            raise Unauthenticated
        return await (opaque(token) if token.startswith(OPAQUE_PREFIX) else signed(token))

    return authenticate


class _Signed:
    """EdDSA access tokens of five minutes."""

    def __init__(self, keys: SigningKeys) -> None:
        self._keys = keys

    async def __call__(self, token: str) -> Caller:
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") != "EdDSA" or header.get("typ") != TOKEN_TYPE:
                raise Unauthenticated
            key = await self._keys.key(str(header.get("kid", "")))
            if key is None:
                raise Unauthenticated
            return _caller_of(_verified(token, key))
        except (jwt.PyJWTError, ValueError, KeyError, TypeError) as error:
            raise Unauthenticated from error
        except ServiceUnavailable as error:
            raise Unavailable("The users service is away and its keys are not known yet.", retry_after=2) from error


def _verified(token: str, key: jwt.PyJWK) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(
        token,
        key.key,
        algorithms=["EdDSA"],
        audience=AUDIENCE,
        issuer=ISSUER,
        options={"require": ["exp", "sub", "iss", "aud", "scope"]},
    )
    return claims


def _caller_of(claims: dict[str, Any]) -> Caller:
    sid = claims.get("sid")
    return Caller(
        caller_id=UUID(claims["sub"]),
        kind="user",
        permissions=frozenset(claims["scope"].split()),
        expires_at=float(claims["exp"]),
        session_id=UUID(sid) if sid else None,
    )


class _Opaque:
    """Personal access tokens, application and service tokens: verified by the users service alone."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def __call__(self, token: str) -> Caller:
        try:
            said = await self._client.data(
                "POST", "/api/v1/auth/introspect", Introspection, body=TokenToIntrospect(token)
            )
        except (
            ServiceUnavailable,
            ServiceRefused,
        ) as error:  # refused is this service's own token, not the one in hand
            raise Unavailable("The users service is away and this token was not seen lately.", retry_after=2) from error
        if not said.active or said.caller_id is None or said.kind is None or said.expires_at is None:
            raise Unauthenticated
        return Caller(said.caller_id, said.kind, frozenset(said.permissions), said.expires_at)
