"""Making, changing and dropping categories; each change is announced after its commit."""

from collections.abc import Callable, Collection
from typing import Protocol
from uuid import UUID

from carillon.users.domain.categories import SEEDED, Category, CategoryWanted
from carillon.users.errors import CategoryNeeded, UnknownCategory


class CategoryKeeper(Protocol):
    """Where categories are kept."""

    async def put(
        self, wanted: CategoryWanted, *, actor_id: UUID, expected: Collection[int] | None
    ) -> tuple[Category, bool]: ...

    async def drop(self, code: str, *, actor_id: UUID) -> bool: ...


Announce = Callable[[], None]
"""Called after the commit: every process is to hear of it soon."""


async def put_category(
    wanted: CategoryWanted,
    *,
    actor_id: UUID,
    keeper: CategoryKeeper,
    announce: Announce,
    expected: Collection[int] | None,
) -> tuple[Category, bool]:
    """The category, and whether it is new. Raises PreconditionFailed, TooManyCategories."""
    kept = await keeper.put(wanted, actor_id=actor_id, expected=expected)
    announce()
    return kept


async def drop_category(code: str, *, actor_id: UUID, keeper: CategoryKeeper, announce: Announce) -> None:
    """Raises CategoryNeeded, UnknownCategory."""
    if code in SEEDED:
        raise CategoryNeeded
    if not await keeper.drop(code, actor_id=actor_id):
        raise UnknownCategory
    announce()
