"""Showing a second factor: a code is good once, a recovery code once, and whoever guesses waits ever longer."""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import structlog

from carillon.kit.errors import TooManyRequests
from carillon.users.actions.authenticating import secret_hash
from carillon.users.actions.renewing import Opening, SignedIn, open_session
from carillon.users.domain.second_factors import (
    CHALLENGE_SECONDS,
    GUESSED_AT,
    WAITS,
    Proof,
    SecondFactorAsked,
    TooSoon,
    Try,
    Waiting,
    recovery_hash,
    right_step,
)
from carillon.users.domain.tokens import Account, Client
from carillon.users.errors import InvalidChallenge, SecondFactorRequired, UnknownSecondFactor, WrongCode

_log = structlog.get_logger()


class Factors(Protocol):
    """Second factors that are on (`confirmed`), or about to be."""

    async def begin_try(self, user_id: UUID, *, confirmed: bool, waits: Sequence[float]) -> Try | TooSoon | None: ...

    async def use_step(self, factor_id: UUID, step: int) -> bool: ...

    async def use_recovery_code(self, user_id: UUID, code_hash: bytes) -> bool: ...

    async def note_guessing(self, user_id: UUID) -> None: ...


class Vault(Protocol):
    """Encrypts; nothing that was sealed for somebody opens for another. Raises Unavailable where the key is not the
    one that sealed."""

    def seal(self, user_id: UUID, secret: bytes) -> bytes: ...

    def unseal(self, user_id: UUID, sealed: bytes) -> bytes: ...


class Challenges(Protocol):
    """Logins that wait for a code."""

    async def begin(self, user_id: UUID, *, version: int, secret_hash: bytes, seconds: float) -> None: ...

    async def waiting(self, secret_hash: bytes) -> Waiting | None: ...

    async def use(self, secret_hash: bytes) -> bool: ...


@dataclass(frozen=True, slots=True)
class Proving:
    """What it takes to judge a code; `clock` gives Unix seconds."""

    factors: Factors
    vault: Vault
    clock: Callable[[], float] = time.time


async def ask_for_second_factor(account: Account, *, challenges: Challenges) -> SecondFactorRequired:
    """To be raised in the place of opening a session."""
    challenge = secrets.token_urlsafe(32)
    await challenges.begin(
        account.user_id,
        version=account.token_version,
        secret_hash=secret_hash(challenge),
        seconds=CHALLENGE_SECONDS,
    )
    return SecondFactorRequired(SecondFactorAsked(challenge, int(CHALLENGE_SECONDS)))


async def waiting_login(challenge: str, *, challenges: Challenges) -> Waiting:
    """Raises InvalidChallenge."""
    found = await challenges.waiting(secret_hash(challenge))
    if found is None:
        raise InvalidChallenge
    return found


async def finish_login(
    challenge: str,
    waiting: Waiting,
    proof: Proof,
    *,
    challenges: Challenges,
    proving: Proving,
    opening: Opening,
    client: Client,
) -> SignedIn:
    """Raises WrongCode, which leaves the challenge as it is; InvalidChallenge; TooManyRequests; Unavailable."""
    try:
        await prove(waiting.account.user_id, proof, proving=proving)
    except UnknownSecondFactor:  # taken off since the password was shown
        raise InvalidChallenge from None
    if not await challenges.use(secret_hash(challenge)):
        raise InvalidChallenge
    return await open_session(waiting.account, opening=opening, client=client)


async def prove(user_id: UUID, proof: Proof, *, proving: Proving) -> None:
    """Raises WrongCode, UnknownSecondFactor, TooManyRequests, Unavailable."""
    if proof.recovery_code is None:
        await _check_code(user_id, proof.code or "", proving)
    elif not await proving.factors.use_recovery_code(user_id, recovery_hash(user_id, proof.recovery_code)):
        _log.info("recovery_code_refused", user_id=str(user_id))
        raise WrongCode
    else:
        _log.info("recovery_code_used", user_id=str(user_id))


async def _check_code(user_id: UUID, code: str, proving: Proving) -> None:
    tried, step = await judged_code(user_id, code, confirmed=True, proving=proving)
    if not await proving.factors.use_step(tried.factor_id, step):  # another request has used it at this moment
        raise WrongCode


async def judged_code(user_id: UUID, code: str, *, confirmed: bool, proving: Proving) -> tuple[Try, int]:
    """The time step that a right code is of, to be marked as used. Raises as `prove` does."""
    tried = await proving.factors.begin_try(user_id, confirmed=confirmed, waits=WAITS)
    if tried is None:
        raise UnknownSecondFactor
    if isinstance(tried, TooSoon):
        raise TooManyRequests("Too many wrong codes in a row: come again later.", retry_after=tried.seconds)
    secret = proving.vault.unseal(user_id, tried.secret)
    step = right_step(code, secret, now=proving.clock(), last_step=tried.last_step)
    if step is None:
        _log.info("code_refused", user_id=str(user_id), failures=tried.failures)
        if tried.failures == GUESSED_AT:
            await proving.factors.note_guessing(user_id)
        raise WrongCode
    return tried, step
