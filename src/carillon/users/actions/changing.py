"""Changes of preferences and profile; each is announced after its commit, and forgotten here at once."""

from collections.abc import Callable, Collection
from typing import Protocol
from uuid import UUID

from carillon.contracts.people import Preferences, User
from carillon.contracts.preferences import Choices
from carillon.users.domain.profile import ProfilePatch, checked_patch
from carillon.users.domain.roles import Actor
from carillon.users.errors import UnknownUser


class PreferencesKeeper(Protocol):
    """Answers None for a user that there is not, or that `by` may not change; raises CannotActOn, and what `change`
    raises."""

    async def change(
        self,
        user_id: UUID,
        change: Callable[[Choices], Choices],
        *,
        by: Actor,
        expected: Collection[int] | None,
    ) -> Preferences | None: ...


class ProfileKeeper(Protocol):
    """Answers None for a user that there is not, or that `by` may not change; raises CannotActOn."""

    async def change(
        self, user_id: UUID, patch: ProfilePatch, *, by: Actor, expected: Collection[int] | None = None
    ) -> User | None: ...


Changed = Callable[[UUID], None]
"""Told after the commit: forget what is remembered of this user, and announce it soon."""


async def change_preferences(
    user_id: UUID,
    change: Callable[[Choices], Choices],
    *,
    by: Actor,
    keeper: PreferencesKeeper,
    changed: Changed,
    expected: Collection[int] | None = None,
) -> Preferences:
    """`change` is applied to what is there by then. Raises UnknownUser, CannotActOn, PreconditionFailed, what `change`
    raises."""
    kept = await keeper.change(user_id, change, by=by, expected=expected)
    if kept is None:
        raise UnknownUser
    changed(user_id)
    return kept


async def change_profile(
    user_id: UUID,
    patch: ProfilePatch,
    *,
    expected: Collection[int] | None = None,
    by: Actor,
    keeper: ProfileKeeper,
    changed: Changed,
) -> User:
    """`expected`: versions that the writer insists on. Raises UnknownUser, CannotActOn, Invalid, PreconditionFailed."""
    checked = checked_patch(patch)
    user = await keeper.change(user_id, checked, by=by, expected=expected)
    if user is None:
        raise UnknownUser
    changed(user_id)
    return user
