"""A new password: by whoever knows the one of before, or by whoever reads the mail of the account's address."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

import structlog

from carillon.users.actions.authenticating import secret_hash
from carillon.users.actions.changing import Changed
from carillon.users.actions.reauthenticating import Owners, Passwords, check_present_password
from carillon.users.domain.account_mail import Addressee, Mail, Purpose, ResetAsked, notice
from carillon.users.domain.passwords import check_password
from carillon.users.domain.people import email_key
from carillon.users.errors import ChangedMeanwhile, InvalidToken

_log = structlog.get_logger()
_FIELD = "new_password"


class Asking(Protocol):
    """Keeps what was asked for until it is done."""

    async def ask(self, content: ResetAsked) -> None: ...


class PasswordKeeper(Owners, Protocol):
    """Puts a hash in the place of another, ends sessions, and has the owner told, at once or not at all."""

    async def change(self, user_id: UUID, *, kept: str, renewed: str, staying: UUID | None, notice: Mail) -> bool: ...

    async def reset(self, secret_hash: bytes, *, renewed: str, revoke_tokens: bool, notice: Mail) -> bool: ...


class Tokens(Protocol):
    """Tokens that were mailed."""

    async def good(self, secret_hash: bytes, purpose: Purpose) -> Addressee | None: ...


class Hasher(Passwords, Protocol):
    """Compares, makes hashes, knows what everybody uses."""

    async def hashed(self, password: str) -> str: ...

    def is_common(self, password: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a new password takes; `public_url` is where the owner reads on."""

    keeper: PasswordKeeper
    tokens: Tokens
    passwords: Hasher
    public_url: str
    changed: Changed

    def notice(self, to: Addressee) -> Mail:
        return notice(to, "password_changed", public_url=self.public_url, now=datetime.now(UTC))


async def ask_for_reset(email: str, *, asking: Asking) -> None:
    """The same for every address: whether there is an account is found out by nobody who asks."""
    await asking.ask(ResetAsked(email_key(email)))


async def reset_password(token: str, new_password: str, *, revoke_tokens: bool, recovery: Recovery) -> None:
    """Raises InvalidToken, WeakPassword (the token is good for another try), Unavailable."""
    secret = secret_hash(token)
    to = await recovery.tokens.good(secret, "password_reset")
    if to is None:
        raise InvalidToken
    check_password(new_password, email=to.email, name=to.name, is_common=recovery.passwords.is_common, field=_FIELD)
    renewed = await recovery.passwords.hashed(new_password)
    told = recovery.notice(to)
    if not await recovery.keeper.reset(secret, renewed=renewed, revoke_tokens=revoke_tokens, notice=told):
        raise InvalidToken
    recovery.changed(to.user_id)
    _log.info("password_reset", user_id=str(to.user_id))


async def change_password(
    user_id: UUID, current: str, new_password: str, *, staying: UUID | None, recovery: Recovery
) -> None:
    """Raises WrongPassword, WeakPassword, ChangedMeanwhile, Unavailable."""
    keeper, passwords = recovery.keeper, recovery.passwords
    owner = await check_present_password(user_id, current, owners=keeper, passwords=passwords)
    email = owner.email or ""
    check_password(new_password, email=email, name=owner.name, is_common=passwords.is_common, field=_FIELD)
    renewed = await passwords.hashed(new_password)
    told = recovery.notice(Addressee(user_id, owner.name, email))
    kept = owner.password_hash
    if not await keeper.change(user_id, kept=kept, renewed=renewed, staying=staying, notice=told):
        raise ChangedMeanwhile
    recovery.changed(user_id)
    _log.info("password_changed", user_id=str(user_id))
