"""Signing in: the same work and the same answer whether the account is unknown or the password wrong."""

from typing import Protocol
from uuid import UUID

import structlog

from carillon.users.actions.proving import Challenges, ask_for_second_factor
from carillon.users.actions.rehashing import Rehashing, rehash
from carillon.users.actions.renewing import Opening, SignedIn, open_session
from carillon.users.domain.people import email_key
from carillon.users.domain.tokens import Account, Client
from carillon.users.errors import WrongCredentials

_log = structlog.get_logger()


class Accounts(Protocol):
    """Accounts by address."""

    async def account(self, email_key: str) -> Account | None: ...

    async def renew_hash(self, user_id: UUID, *, kept: str, renewed: str) -> bool: ...


class Passwords(Rehashing, Protocol):
    """Compares in equal time; without a kept hash too."""

    async def matches(self, kept: str | None, password: str) -> bool: ...


async def sign_in(
    email: str,
    password: str,
    *,
    accounts: Accounts,
    passwords: Passwords,
    challenges: Challenges,
    opening: Opening,
    client: Client,
) -> SignedIn:
    """Raises WrongCredentials; SecondFactorRequired after the right password; Unavailable when too many sign in at
    once."""
    account = await accounts.account(email_key(email))
    usable = account is not None and account.status == "active"
    right = await passwords.matches(account.password_hash if account is not None and usable else None, password)
    if account is None or not right:
        _log.info("sign_in_refused", known=account is not None)
        raise WrongCredentials
    await rehash(account, password, accounts=accounts, passwords=passwords)
    if account.second_factor:
        raise await ask_for_second_factor(account, challenges=challenges)
    return await open_session(account, opening=opening, client=client)
