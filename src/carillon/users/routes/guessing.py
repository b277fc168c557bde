"""Whoever guesses is slowed down: what may be wrong is counted before it is looked at."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from uuid import UUID

from carillon.kit.errors import Problem
from carillon.users.errors import WrongCode, WrongCredentials, WrongPassword
from carillon.users.routes.resources import Resources, counted

_NETWORKS = 10


@contextlib.asynccontextmanager
async def guessing(here: Resources, name: str, by_key: Mapping[str, int], *wrong: type[Problem]) -> AsyncIterator[None]:
    """Count a failure under each key before the secret is looked at, or many guesses at once would slip through; take
    it back unless one of `wrong` is raised: for a right secret, and where nobody looked at it."""
    for key, most in by_key.items():
        await counted(here, name, key, most, strict=True)
    try:
        yield
    except wrong:
        raise
    except Problem:
        await _forgive(here, name, by_key)
        raise
    await _forgive(here, name, by_key)


def guessing_logins(here: Resources, account: str, network: str) -> contextlib.AbstractAsyncContextManager[None]:
    """By account and client network first, so that a stranger who guesses does not lock the owner out; by account alone
    ten times as many, whoever and wherever they are."""
    per_minute = here.settings.failed_logins_per_minute
    by_key = {f"{account}:{network}": per_minute, account: per_minute * _NETWORKS}
    return guessing(here, "failed-logins", by_key, WrongCredentials, WrongCode)


def guessing_password(here: Resources, user_id: UUID) -> contextlib.AbstractAsyncContextManager[None]:
    """The present password of somebody who has logged in."""
    by_key = {str(user_id): here.settings.failed_logins_per_minute}
    return guessing(here, "password-changes", by_key, WrongPassword)


def guessing_codes(here: Resources, user_id: UUID) -> contextlib.AbstractAsyncContextManager[None]:
    """One count for every route that takes a code of this user."""
    return guessing(here, "codes", {str(user_id): here.settings.failed_logins_per_minute}, WrongCode)


async def _forgive(here: Resources, name: str, by_key: Mapping[str, int]) -> None:
    for key, most in by_key.items():
        await here.limits.forgive(f"{name}:{key}", most, strict=True)
