"""A right password whose hash is of yesterday, or of another system, gets a hash of today."""

from typing import Protocol
from uuid import UUID

import structlog

from carillon.kit.errors import Unavailable
from carillon.users.domain.tokens import Account

_log = structlog.get_logger()


class Rehashing(Protocol):
    """Makes hashes, and knows which are out of date."""

    async def hashed(self, password: str) -> str: ...

    def outdated(self, kept: str) -> bool: ...


class HashKeeper(Protocol):
    """Puts a hash in the place of the one that was compared; False where that one is no longer kept."""

    async def renew_hash(self, user_id: UUID, *, kept: str, renewed: str) -> bool: ...


async def rehash(account: Account, password: str, *, accounts: HashKeeper, passwords: Rehashing) -> None:
    """To be called with a password that fits; when too many sign in at once, it is left to the next time."""
    kept = account.password_hash
    if kept is None or not passwords.outdated(kept):
        return
    try:
        renewed = await accounts.renew_hash(account.user_id, kept=kept, renewed=await passwords.hashed(password))
    except Unavailable:
        return
    _log.info("password_rehashed", user_id=str(account.user_id), renewed=renewed)
