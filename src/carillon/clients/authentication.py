"""Verifying callers away from the users service: JWTs by its cached keys, opaque tokens by asking."""

import contextlib
import math
import time
from collections.abc import Callable
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from carillon.clients.access_tokens import ALGORITHM, key_id, verified
from carillon.clients.revocations import Revocations
from carillon.contracts.users import LONGEST_TOKEN, OPAQUE_PREFIX, Introspection, TokenToIntrospect
from carillon.kit.auth import Caller
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
        self._missed = False
        self._cache: Cache[str, dict[str, Ed25519PublicKey]] = Cache(
            service=service,
            name="signing_keys",
            fresh_seconds=_KEYS_FRESH,
            stale_seconds=_KEYS_STALE,
            away=(ServiceUnavailable,),
            clock=clock,
        )

    async def key(self, kid: str) -> Ed25519PublicKey | None:
        """None: no such key. Raises ServiceUnavailable when users is away and cannot be asked for it."""
        keys = (await self._cache.get("keys", self._fetch)).value
        if kid not in keys and self._clock() - self._renewed >= _ASK_FOR_NEW_KEYS_EVERY:
            try:
                keys = await self._cache.renew("keys", self._fetch)
                self._missed = False
            except ServiceUnavailable:
                self._missed = True
                raise
            finally:
                self._renewed = self._clock()
        if kid not in keys and self._missed:
            raise ServiceUnavailable("users was asked for a new key a moment ago and did not answer")
        return keys.get(kid)

    async def _fetch(self) -> dict[str, Ed25519PublicKey]:
        answer = await self._client.call("GET", "/.well-known/jwks.json")
        try:
            found = jwt.PyJWKSet.from_dict(msgspec.json.decode(answer.body, type=dict[str, Any]))
        except (msgspec.DecodeError, jwt.PyJWTError) as error:
            raise ServiceUnavailable("users answered something else than its keys") from error
        return {
            each.key_id: each.key
            for each in found.keys
            if each.key_id and each.algorithm_name == ALGORITHM and isinstance(each.key, Ed25519PublicKey)
        }


class Callers:
    """Takes both kinds of token. Raises Unauthenticated for a bad one, Unavailable when nobody can tell."""

    def __init__(self, client: ServiceClient, *, service: str) -> None:
        self.revocations = Revocations()
        """To be told of `users.events`."""
        self._ask = _Opaque(client)
        self._signed = RememberedTokens(
            _Signed(SigningKeys(client, service=service), self.revocations, self._ask),
            service=service,
            name="signed_tokens",
            seconds=_REMEMBERED,
        )
        self._opaque = RememberedTokens(
            self._ask, service=service, name="opaque_tokens", seconds=_REMEMBERED, stale_seconds=_WHILE_AWAY
        )
        self.revocations.guard(self._signed, self._opaque)

    async def __call__(self, token: str) -> Caller:
        if len(token) > LONGEST_TOKEN:
            raise Unauthenticated
        return await (self._opaque(token) if token.startswith(OPAQUE_PREFIX) else self._signed(token))

    def at_hand(self, token: str) -> Caller | None:
        """Whose token it is, where nobody need be asked; counted as a look-up."""
        remembered = self._opaque if token.startswith(OPAQUE_PREFIX) else self._signed
        if (caller := remembered.at_hand(token)) is not None:
            remembered.count()
        return caller

    async def strictly(self, token: str) -> Caller:
        """Ask the users service now, whatever is remembered and whatever kind of token it is."""
        if len(token) > LONGEST_TOKEN:
            raise Unauthenticated
        return await self._ask(token)


class _Signed:
    """EdDSA access tokens of five minutes. Of one that is older than this process has heard of revocations, users is
    asked, as long as it is there."""

    def __init__(self, keys: SigningKeys, revocations: Revocations, ask: "_Opaque") -> None:
        self._keys = keys
        self._revocations = revocations
        self._ask = ask

    async def __call__(self, token: str) -> Caller:
        try:
            key = await self._keys.key(key_id(token))
        except ServiceUnavailable as error:
            raise Unavailable("The users service is away and its keys are not known yet.", retry_after=2) from error
        claims = verified(token, key, now=time.time())
        if self._revocations.void(claims.sub, claims.sid, claims.ver):
            raise Unauthenticated("This access token was revoked: log in again.")
        if self._revocations.missed(claims.iat):
            with contextlib.suppress(Unavailable):
                return await self._ask(token)
        permissions = frozenset(claims.scope.split())
        return Caller(claims.sub, "user", permissions, claims.exp, claims.sid)


class _Opaque:
    """Whatever the users service alone can tell: opaque tokens, and any token where it must not be a memory."""

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
        return Caller(said.caller_id, said.kind, frozenset(said.permissions), said.expires_at, said.session_id)
