"""Signing in: the same work and the same answer whether the account is unknown or the password wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import structlog

from carillon.users.actions.rehashing import Rehashing, rehash
from carillon.users.domain.people import email_key
from carillon.users.domain.tokens import Account
from carillon.users.errors import WrongCredentials

_log = structlog.get_logger()


class Accounts(Protocol):
    """Accounts by address, and the logins that begin."""

    async def account(self, email_key: str) -> Account | None: ...

    async def begin_session(self, user_id: UUID, *, seconds: float) -> UUID: ...

    async def renew_hash(self, user_id: UUID, *, kept: str, renewed: str) -> bool: ...


class Passwords(Rehashing, Protocol):
    """Compares in equal time; without a kept hash too."""

    async def matches(self, kept: str | None, password: str) -> bool: ...


class TokenSigner(Protocol):
    """Makes access tokens that live for `seconds`."""

    @property
    def seconds(self) -> int: ...

    def signed(self, *, user_id: UUID, session_id: UUID, version: int, permissions: Sequence[str]) -> str: ...


@dataclass(frozen=True, slots=True)
class SignedIn:
    access_token: str
    expires_in: int


async def sign_in(
    email: str, password: str, *, accounts: Accounts, passwords: Passwords, signer: TokenSigner
) -> SignedIn:
    """Raises WrongCredentials, and Unavailable when too many sign in at once."""
    account = await accounts.account(email_key(email))
    usable = account is not None and account.status == "active"
    right = await passwords.matches(account.password_hash if account is not None and usable else None, password)
    if account is None or not right:
        _log.info("sign_in_refused", known=account is not None)
        raise WrongCredentials
    await rehash(account, password, accounts=accounts, passwords=passwords)
    session_id = await accounts.begin_session(account.user_id, seconds=signer.seconds)
    token = signer.signed(
        user_id=account.user_id,
        session_id=session_id,
        version=account.token_version,
        permissions=account.permissions,
    )
    _log.info("signed_in", user_id=str(account.user_id), session_id=str(session_id))
    return SignedIn(token, signer.seconds)
