"""Addresses that must not be written to: suppressing them, lifting that, asking."""

from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from carillon.users.actions.changing import Changed
from carillon.users.domain.people import address


class Suppression(msgspec.Struct, frozen=True):
    """Whether an address is suppressed; why and since when, where it is."""

    suppressed: bool
    reason: str | None = None
    since: datetime | None = None


class Suppressions(Protocol):
    """Knows addresses by their keys."""

    async def find(self, email_key: str) -> tuple[str, datetime] | None: ...

    async def add(self, email_key: str, reason: str, *, actor_id: UUID) -> tuple[bool, UUID | None]: ...

    async def lift(self, email_key: str, *, actor_id: UUID) -> tuple[bool, UUID | None]: ...


async def ask(email: str, *, suppressions: Suppressions) -> Suppression:
    """Raises Invalid for what is no address."""
    found = await suppressions.find(address(email).key)
    return Suppression(suppressed=False) if found is None else Suppression(True, *found)


async def suppress(
    email: str, reason: str, *, actor_id: UUID, suppressions: Suppressions, changed: Changed
) -> tuple[Suppression, bool]:
    """What is so afterwards, and whether it is new: an older suppression keeps its reason. Raises Invalid."""
    new, user_id = await suppressions.add(address(email).key, reason, actor_id=actor_id)
    if user_id is not None:
        changed(user_id)
    return await ask(email, suppressions=suppressions), new


async def lift(email: str, *, actor_id: UUID, suppressions: Suppressions, changed: Changed) -> bool:
    """False when it was not suppressed. Raises Invalid."""
    lifted, user_id = await suppressions.lift(address(email).key, actor_id=actor_id)
    if user_id is not None:
        changed(user_id)
    return lifted
