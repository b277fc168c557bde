"""Roles and permissions as values, and who may give or take them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from uuid import UUID

import msgspec

ADMIN = "admin"
Holds = Callable[[str], bool]
"""Whether somebody holds a permission, exactly or by a wildcard."""


class Permission(msgspec.Struct, frozen=True):
    """Something that may be done. `users:*` stands for all that begin with `users:`."""

    permission_id: UUID
    name: str
    description: str


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """Permissions under one name. Those that came with Carillon (`seeded`) keep their names and stay."""

    role_id: UUID
    name: str
    description: str
    permissions: list[str]
    seeded: bool
    version: int


class RoleName(msgspec.Struct, frozen=True):
    role_id: UUID
    name: str


class Grants(msgspec.Struct, frozen=True, kw_only=True):
    """What a user may do: by roles, directly, and both together. `version` is the user's."""

    user_id: UUID
    roles: list[RoleName]
    permissions: list[Permission]
    effective: list[str]
    version: int


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes people, or what they may do: whether everybody, what they hold themselves, and from which login."""

    actor_id: UUID
    anyone: bool
    holds: Holds
    session_id: UUID | None = None


def not_held(names: Iterable[str], holds: Holds) -> list[str]:
    """Those that somebody who holds only what `holds` says can neither give nor take."""
    return sorted({name for name in names if not holds(name)})
