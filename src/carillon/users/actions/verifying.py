"""Addresses that are confirmed: the one an account has, or the one that is to take its place."""

from collections.abc import Collection
from typing import Protocol
from uuid import UUID

import structlog

from carillon.contracts.people import User
from carillon.users.actions.authenticating import secret_hash
from carillon.users.actions.changing import Changed
from carillon.users.actions.telling import Told, telling
from carillon.users.domain.account_mail import VerificationAsked
from carillon.users.domain.people import Address
from carillon.users.domain.roles import Actor
from carillon.users.errors import InvalidToken, UnknownUser

_log = structlog.get_logger()


class Asking(Protocol):
    """Keeps what was asked for until it is done."""

    async def ask(self, content: VerificationAsked) -> None: ...


class Verifying(Protocol):
    """Confirms the address that a token was mailed to. Raises EmailTaken."""

    async def verify(self, secret_hash: bytes) -> UUID | None: ...


class AddressKeeper(Protocol):
    """Addresses that wait to be confirmed. None for a user that there is not, or that `by` may not change."""

    async def put_pending_email(
        self,
        user_id: UUID,
        wanted: Address,
        *,
        by: Actor,
        notice: Told,
        expected: Collection[int] | None,
    ) -> User | None: ...


async def ask_for_verification(user_id: UUID, *, asking: Asking) -> None:
    """A mail goes out where there is something to confirm."""
    await asking.ask(VerificationAsked(user_id))


async def verify_email(token: str, *, verifying: Verifying, changed: Changed) -> None:
    """Raises InvalidToken; EmailTaken where somebody else has come to have this address."""
    user_id = await verifying.verify(secret_hash(token))
    if user_id is None:
        raise InvalidToken
    changed(user_id)
    _log.info("email_verified", user_id=str(user_id))


async def change_email(
    user_id: UUID,
    wanted: Address,
    *,
    expected: Collection[int] | None,
    by: Actor,
    keeper: AddressKeeper,
    public_url: str,
    changed: Changed,
) -> User:
    """The new address waits, and is written to; it counts once it is confirmed. The present one is told; naming it
    takes back what waits.

    Whoever has the address can have the password: a personal access token is not enough for one's own.
    Raises UnknownUser, CannotActOn, EmailTaken, PreconditionFailed.
    """
    told = telling("email_change_asked", public_url=public_url)
    user = await keeper.put_pending_email(user_id, wanted, by=by, notice=told, expected=expected)
    if user is None:
        raise UnknownUser
    changed(user_id)
    return user
