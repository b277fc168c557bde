"""Whose token is this: access tokens by signature and session, opaque tokens by their row."""

import hashlib
from collections.abc import Awaitable, Callable
from hmac import compare_digest
from typing import Protocol
from uuid import UUID

import structlog

from carillon.contracts.users import OPAQUE_PREFIX, Introspection
from carillon.kit.auth import Caller
from carillon.kit.errors import Unauthenticated, Unavailable
from carillon.users.domain.tokens import SELF, Claims, OpaqueToken, SessionState, granted, opaque_parts

_log = structlog.get_logger()
_REFUSAL = "This token is unknown, revoked or expired."


class LiveSessions(Protocol):
    """Sessions that go on."""

    async def session(self, session_id: UUID) -> SessionState | None: ...


class Credentials(Protocol):
    """Opaque tokens that are still good."""

    async def opaque_token(self, token_id: UUID) -> OpaqueToken | None: ...


class TokenVerifier(Protocol):
    """Knows the signing key."""

    def verified(self, token: str) -> Claims: ...


Void = Callable[[UUID, UUID, int], bool]
"""Whether an access token of this user, session and version is known to be revoked."""
Used = Callable[[UUID], None]
"""Told of an opaque token that was good."""


class Identification:
    """An authenticator over this service's own key and tables."""

    def __init__(
        self,
        credentials: Credentials,
        sessions: LiveSessions,
        access_tokens: TokenVerifier,
        *,
        void: Void = lambda *_: False,
        used: Used = lambda _: None,
    ) -> None:
        self._credentials = credentials
        self._sessions = sessions
        self._access_tokens = access_tokens
        self._void = void
        self._used = used

    async def __call__(self, token: str) -> Caller:
        """Raises Unauthenticated; Unavailable when an opaque token cannot be looked up."""
        return await (self._opaque(token) if token.startswith(OPAQUE_PREFIX) else self._signed(token))

    async def strictly(self, token: str) -> Caller:
        """As above, and Unavailable too when the session of an access token cannot be looked at."""
        return await (self._opaque(token) if token.startswith(OPAQUE_PREFIX) else self._signed(token, strict=True))

    async def _signed(self, token: str, *, strict: bool = False) -> Caller:
        claims = self._access_tokens.verified(token)
        try:
            session = await self._sessions.session(claims.session_id)
        except Unavailable:
            if strict or self._void(claims.user_id, claims.session_id, claims.version):
                raise
            # The signature holds for its five minutes, here as in every other service.
            _log.info("session_not_checked", session_id=str(claims.session_id))
        else:
            if session is None or session.token_version != claims.version or session.user_id != claims.user_id:
                raise Unauthenticated(_REFUSAL)
        return Caller(claims.user_id, "user", claims.permissions, claims.expires_at, claims.session_id)

    async def _opaque(self, token: str) -> Caller:
        parts = opaque_parts(token)
        known = await self._credentials.opaque_token(parts.token_id) if parts else None
        if parts is None or known is None or not compare_digest(secret_hash(parts.secret), known.secret_hash):
            raise Unauthenticated(_REFUSAL)
        self._used(parts.token_id)
        held = (*known.permissions, *SELF) if known.kind == "user" else known.permissions
        return Caller(known.owner_id, known.kind, granted(known.abilities, held), known.expires_at)


def secret_hash(secret: str) -> bytes:
    """What is kept of an opaque token: 256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode()).digest()


async def introspect(token: str, *, authenticate: Callable[[str], Awaitable[Caller]]) -> Introspection:
    """A token that is not good is an answer here, not a failure."""
    try:
        caller = await authenticate(token)
    except Unauthenticated:
        return Introspection(active=False)
    return Introspection(
        active=True,
        caller_id=caller.caller_id,
        kind=caller.kind,
        permissions=sorted(caller.permissions),
        expires_at=caller.expires_at,
        session_id=caller.session_id,
    )
