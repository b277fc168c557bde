"""Changes of preferences and locale; each is announced after its commit, and forgotten here at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from carillon.contracts.preferences import Choices
from carillon.kit.errors import invalid
from carillon.users.domain.people import User
from carillon.users.domain.preferences import MOST_CATEGORIES, Preferences
from carillon.users.errors import TooManyCategories, UnknownUser


class PreferencesKeeper(Protocol):
    """Answers None for a user that there is not, or that `actor_id` may not change."""

    async def replace(self, user_id: UUID, choices: Choices, *, actor_id: UUID, anyone: bool) -> Preferences | None: ...

    async def adjust(
        self,
        user_id: UUID,
        *,
        email: bool | None,
        push: bool | None,
        chosen: dict[str, bool],
        unchosen: Sequence[str],
        most: int,
        actor_id: UUID,
        anyone: bool,
    ) -> Preferences | None: ...


class LocaleKeeper(Protocol):
    """Answers None for a user that there is not, or that `actor_id` may not change."""

    async def set_locale(self, user_id: UUID, locale: str | None, *, actor_id: UUID, anyone: bool) -> User | None: ...


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes, and whether they may change everybody."""

    actor_id: UUID
    anyone: bool


Changed = Callable[[UUID], None]
"""Told after the commit: forget what is remembered of this user, and announce it soon."""


async def replace_preferences(
    user_id: UUID, choices: Choices, *, by: Actor, keeper: PreferencesKeeper, changed: Changed
) -> Preferences:
    """Raises UnknownUser."""
    kept = await keeper.replace(user_id, choices, actor_id=by.actor_id, anyone=by.anyone)
    if kept is None:
        raise UnknownUser
    changed(user_id)
    return kept


async def adjust_preferences(
    user_id: UUID,
    *,
    email: bool | None,
    push: bool | None,
    categories: dict[str, bool | None],
    by: Actor,
    keeper: PreferencesKeeper,
    changed: Changed,
) -> Preferences:
    """Changes what is given; a category of None goes back to undecided. Raises UnknownUser, Invalid."""
    try:
        kept = await keeper.adjust(
            user_id,
            email=email,
            push=push,
            chosen={name: choice for name, choice in categories.items() if choice is not None},
            unchosen=[name for name, choice in categories.items() if choice is None],
            most=MOST_CATEGORIES,
            actor_id=by.actor_id,
            anyone=by.anyone,
        )
    except TooManyCategories:
        raise invalid("categories", f"At most {MOST_CATEGORIES} are kept; set some to null first.") from None
    if kept is None:
        raise UnknownUser
    changed(user_id)
    return kept


async def change_locale(
    user_id: UUID, locale: str | None, *, by: Actor, keeper: LocaleKeeper, changed: Changed
) -> User:
    """Raises UnknownUser."""
    user = await keeper.set_locale(user_id, locale, actor_id=by.actor_id, anyone=by.anyone)
    if user is None:
        raise UnknownUser
    changed(user_id)
    return user
