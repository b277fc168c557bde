"""Sessions: opened once somebody is known, renewed by refresh tokens, ended by their owner."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol
from uuid import UUID

import structlog

from carillon.users.actions.changing import Changed
from carillon.users.domain.refreshing import (
    Chain,
    RefreshParts,
    judged,
    refresh_hash,
    refresh_parts,
    refresh_text,
    successor,
)
from carillon.users.domain.tokens import Account, Client, Granted
from carillon.users.errors import InvalidRefreshToken, UnknownSession, WrongCredentials

_log = structlog.get_logger()
Scope = Literal["this", "others", "all"]


class TokenSigner(Protocol):
    """Makes access tokens that live for `seconds`, or less."""

    @property
    def seconds(self) -> int: ...

    def signed(
        self, *, user_id: UUID, session_id: UUID, version: int, permissions: Sequence[str], seconds: int | None = None
    ) -> str: ...


class LockedSession(Protocol):
    @property
    def chain(self) -> Chain: ...

    @property
    def granted(self) -> Granted: ...


class RenewingSession(Protocol):
    """Within one transaction."""

    async def locked(self, session_id: UUID) -> LockedSession | None: ...

    async def rotate(self, session_id: UUID, newest_hash: bytes) -> None: ...

    async def end_reused(self, session_id: UUID, user_id: UUID) -> None: ...


class Renewals(Protocol):
    """Lets one at a time renew a session."""

    def renewing(self) -> AbstractAsyncContextManager[RenewingSession]: ...


class BegunSessions(Protocol):
    async def begin_session(
        self, user_id: UUID, *, version: int, seconds: float, client: Client
    ) -> RefreshParts | None: ...


class SessionEnder(Protocol):
    async def end(self, user_id: UUID, *, only: UUID | None = None, spare: Sequence[UUID] = (), reason: str) -> int: ...

    async def end_all(self, user_id: UUID) -> int: ...


@dataclass(frozen=True, slots=True)
class Opening:
    """What a session is opened with; it ends after `session_seconds`, whatever happens."""

    sessions: BegunSessions
    signer: TokenSigner
    session_seconds: float


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Lives are in whole seconds from now."""

    access_token: str
    expires_in: int
    refresh_token: str
    refresh_expires_in: int


async def open_session(account: Account, *, opening: Opening, client: Client) -> SignedIn:
    """For somebody who has shown who they are. Raises WrongCredentials when that was revoked in the meantime."""
    begun = await opening.sessions.begin_session(
        account.user_id, version=account.token_version, seconds=opening.session_seconds, client=client
    )
    if begun is None:
        raise WrongCredentials
    granted = Granted(
        account.user_id, begun.session_id, account.token_version, account.permissions, opening.session_seconds
    )
    _log.info("signed_in", user_id=str(account.user_id), session_id=str(begun.session_id))
    return _signed_in(granted, begun, opening.signer)


async def refresh(
    token: str, *, renewals: Renewals, signer: TokenSigner, grace_seconds: float, changed: Changed
) -> SignedIn:
    """The next tokens of a session. Raises InvalidRefreshToken; for one that was spent, the session ends first."""
    parts = refresh_parts(token)
    if parts is None:
        raise InvalidRefreshToken
    async with renewals.renewing() as session:
        renewed = await _renewed(parts, session, grace_seconds)
    if isinstance(renewed, UUID):
        changed(renewed)
        raise InvalidRefreshToken
    if renewed is None:
        raise InvalidRefreshToken
    granted, following = renewed
    return _signed_in(granted, following, signer)


async def _renewed(
    parts: RefreshParts, session: RenewingSession, grace_seconds: float
) -> tuple[Granted, RefreshParts] | UUID | None:
    """None where nothing is granted; the user's id where that ended their session, which is to be committed."""
    found = await session.locked(parts.session_id)
    if found is None:
        return None
    verdict = judged(parts, found.chain, grace_seconds=grace_seconds)
    if verdict == "invented":
        return None
    if verdict == "reused":
        _log.warning("refresh_token_reused", session_id=str(parts.session_id), user_id=str(found.granted.user_id))
        await session.end_reused(parts.session_id, found.granted.user_id)
        return found.granted.user_id
    following = RefreshParts(parts.session_id, parts.generation + 1, successor(found.chain.salt, parts.secret))
    if verdict == "newest":
        await session.rotate(parts.session_id, refresh_hash(following.secret))
    return found.granted, following


async def log_out(user_id: UUID, session_id: UUID, scope: Scope, *, sessions: SessionEnder, changed: Changed) -> int:
    """How many sessions ended. Of `all` also whatever begins while they end."""
    if scope == "all":
        ended = await sessions.end_all(user_id)
    elif scope == "others":
        ended = await sessions.end(user_id, spare=[session_id], reason="signed_out")
    else:
        ended = await sessions.end(user_id, only=session_id, reason="signed_out")
    changed(user_id)
    return ended


async def end_session(user_id: UUID, session_id: UUID, *, sessions: SessionEnder, changed: Changed) -> None:
    """Raises UnknownSession for one that has ended, or is of somebody else."""
    if not await sessions.end(user_id, only=session_id, reason="ended_by_owner"):
        raise UnknownSession
    changed(user_id)


def _signed_in(granted: Granted, following: RefreshParts, signer: TokenSigner) -> SignedIn:
    left = max(1, int(granted.seconds_left))
    seconds = min(signer.seconds, left)
    token = signer.signed(
        user_id=granted.user_id,
        session_id=granted.session_id,
        version=granted.token_version,
        permissions=granted.permissions,
        seconds=seconds,
    )
    return SignedIn(token, seconds, refresh_text(following), left)
