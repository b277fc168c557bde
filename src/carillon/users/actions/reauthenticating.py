"""Whoever has logged in shows the present password once more, for what a login alone must not open."""

from typing import Protocol
from uuid import UUID

from carillon.users.errors import WrongPassword


class PasswordOwner(Protocol):
    """Somebody who can log in."""

    @property
    def name(self) -> str: ...
    @property
    def email(self) -> str | None: ...
    @property
    def password_hash(self) -> str: ...


class Owners(Protocol):
    """None for a user who has no password, or may not log in."""

    async def owner(self, user_id: UUID) -> PasswordOwner | None: ...


class Passwords(Protocol):
    async def matches(self, kept: str | None, password: str) -> bool: ...


async def check_present_password(
    user_id: UUID, password: str, *, owners: Owners, passwords: Passwords
) -> PasswordOwner:
    """Whose it is. Raises WrongPassword, Unavailable."""
    owner = await owners.owner(user_id)
    right = await passwords.matches(owner.password_hash if owner else None, password)
    if owner is None or not right:
        raise WrongPassword
    return owner
