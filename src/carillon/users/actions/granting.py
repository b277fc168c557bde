"""Giving and taking: roles, their permissions, and what single users may do. At once effective."""

from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from carillon.kit.errors import FieldProblem, Invalid, check_version
from carillon.kit.ids import uuid7
from carillon.users.actions.changing import Changed
from carillon.users.domain.idempotency import Once
from carillon.users.domain.roles import ADMIN, Actor, Grants, Holds, Permission, Role, not_held
from carillon.users.errors import (
    AlreadyMade,
    CannotGrant,
    LastAdministrator,
    RoleNameTaken,
    SeededRole,
    TooManyRoles,
    UnknownRole,
    UnknownUser,
)

MOST_ROLES = 1_000
_TOLD_AT_ONCE = 1_000

Expected = Collection[int] | None


class Change(Protocol):
    """One change of rights, in one transaction; what was read in it stays so until its end."""

    async def role(self, role_id: UUID) -> Role | None: ...

    async def roles(self, names: Collection[str]) -> list[Role]: ...

    async def permissions(self) -> list[Permission]: ...

    async def grants(self, user_id: UUID) -> Grants | None: ...

    async def count_roles(self) -> int: ...

    async def claim(self, once: Once | None, role_id: UUID) -> None: ...

    async def add_role(self, role_id: UUID, name: str, description: str) -> bool: ...

    async def name_role(self, role_id: UUID, name: str, description: str) -> None: ...

    async def give_to_role(self, role_id: UUID, permissions: Collection[str]) -> None: ...

    async def drop_role(self, role_id: UUID) -> None: ...

    async def give_roles(self, user_id: UUID, role_ids: Sequence[UUID]) -> None: ...

    async def give_permissions(self, user_id: UUID, permission_ids: Sequence[UUID]) -> None: ...

    async def is_last_admin(self, user_id: UUID) -> bool: ...

    async def touch(
        self, user_id: UUID, *, actor_id: UUID, action: str, detail: dict[str, Any], expected: Expected
    ) -> int | None: ...

    async def touch_holders(self, role_id: UUID) -> list[UUID]: ...

    async def audit(self, action: str, *, actor_id: UUID, subject_id: UUID, detail: dict[str, Any]) -> None: ...


class Ledger(Protocol):
    """Lets one change of rights be made at a time."""

    def changing(self) -> AbstractAsyncContextManager[Change]: ...


@dataclass(frozen=True, slots=True)
class RoleChange:
    """What is to be different; None leaves it as it is."""

    name: str | None = None
    description: str | None = None
    permissions: Collection[str] | None = None


async def make_role(
    name: str, description: str, permissions: Collection[str], *, by: Actor, ledger: Ledger, once: Once | None = None
) -> tuple[Role, bool]:
    """The role, and whether it is new: it is not for the same key of idempotency.

    Raises Invalid for unknown permissions, CannotGrant, RoleNameTaken, TooManyRoles, IdempotencyKeyReused; UnknownRole
    where it was made before and deleted since.
    """
    role_id = uuid7()
    async with ledger.changing() as change:
        try:
            await change.claim(once, role_id)
        except AlreadyMade as before:
            return await _role(change, before.resource_id), False
        await _check_permissions(change, permissions, by)
        if await change.count_roles() >= MOST_ROLES:
            raise TooManyRoles
        if not await change.add_role(role_id, name, description):
            raise RoleNameTaken
        await change.give_to_role(role_id, permissions)
        detail = {"name": name, "permissions": sorted(set(permissions))}
        await change.audit("role_made", actor_id=by.actor_id, subject_id=role_id, detail=detail)
        return await _role(change, role_id), True


async def change_role(
    role_id: UUID, wanted: RoleChange, *, expected: Expected, by: Actor, ledger: Ledger, changed: Changed
) -> Role:
    """Raises UnknownRole, SeededRole, RoleNameTaken, Invalid, CannotGrant, PreconditionFailed."""
    async with ledger.changing() as change:
        role = await _role(change, role_id)
        check_version(role.version, expected)
        before = frozenset(role.permissions)
        after = before if wanted.permissions is None else frozenset(wanted.permissions)
        name = wanted.name or role.name
        _check_seeded(role, name=name, permissions=after)
        if name != role.name:
            check_held(before, by.holds)  # under another name others may give what they know by this one
            if await change.roles([name]):
                raise RoleNameTaken
        await _check_permissions(change, before ^ after, by)
        await change.name_role(role_id, name, role.description if wanted.description is None else wanted.description)
        await change.give_to_role(role_id, after)
        concerned = await change.touch_holders(role_id) if after != before else []
        detail = {"name": name, "given": sorted(after - before), "taken": sorted(before - after)}
        await change.audit("role_changed", actor_id=by.actor_id, subject_id=role_id, detail=detail)
        now = await _role(change, role_id)
    _tell(concerned, changed)
    return now


async def delete_role(role_id: UUID, *, expected: Expected, by: Actor, ledger: Ledger, changed: Changed) -> Role:
    """The role as it was. Raises UnknownRole, SeededRole, CannotGrant, PreconditionFailed."""
    async with ledger.changing() as change:
        role = await _role(change, role_id)
        check_version(role.version, expected)
        if role.seeded:
            raise SeededRole("This role came with Carillon: it stays.")
        check_held(role.permissions, by.holds)
        concerned = await change.touch_holders(role_id)
        await change.drop_role(role_id)
        await change.audit("role_deleted", actor_id=by.actor_id, subject_id=role_id, detail={"name": role.name})
    _tell(concerned, changed)
    return role


async def assign_roles(
    user_id: UUID, names: Collection[str], *, expected: Expected, by: Actor, ledger: Ledger, changed: Changed
) -> Grants:
    """These roles and no others. Raises UnknownUser, Invalid, CannotGrant, LastAdministrator, PreconditionFailed."""
    async with ledger.changing() as change:
        before = await _grants(change, user_id, expected)
        roles = await change.roles({*names, *(role.name for role in before.roles)})
        wanted = [role for role in roles if role.name in names]
        _check_known("roles", names, (role.name for role in wanted))
        had = {role.name for role in before.roles}
        differing = [role for role in roles if (role.name in had) != (role in wanted)]
        if not differing:
            return before
        check_held({name for role in differing for name in role.permissions}, by.holds)
        if any(role.name == ADMIN and role not in wanted for role in differing) and await change.is_last_admin(user_id):
            raise LastAdministrator
        await change.give_roles(user_id, [role.role_id for role in wanted])
        detail = {"roles": sorted(role.name for role in wanted), "before": sorted(had)}
        await change.touch(user_id, actor_id=by.actor_id, action="roles_changed", detail=detail, expected=expected)
        now = await _grants(change, user_id, None)
    changed(user_id)
    return now


async def assign_permissions(
    user_id: UUID, names: Collection[str], *, expected: Expected, by: Actor, ledger: Ledger, changed: Changed
) -> Grants:
    """These direct permissions and no others. Raises UnknownUser, Invalid, CannotGrant, PreconditionFailed."""
    async with ledger.changing() as change:
        before = await _grants(change, user_id, expected)
        had = frozenset(permission.name for permission in before.permissions)
        wanted = frozenset(names)
        if wanted == had:
            return before
        await _check_permissions(change, wanted ^ had, by)
        ids = [one.permission_id for one in await change.permissions() if one.name in wanted]
        await change.give_permissions(user_id, ids)
        detail = {"permissions": sorted(wanted), "before": sorted(had)}
        await change.touch(
            user_id, actor_id=by.actor_id, action="permissions_changed", detail=detail, expected=expected
        )
        now = await _grants(change, user_id, None)
    changed(user_id)
    return now


async def _role(change: Change, role_id: UUID) -> Role:
    role = await change.role(role_id)
    if role is None:
        raise UnknownRole
    return role


async def _grants(change: Change, user_id: UUID, expected: Expected) -> Grants:
    found = await change.grants(user_id)
    if found is None:
        raise UnknownUser
    check_version(found.version, expected)
    return found


async def _check_permissions(change: Change, names: Collection[str], by: Actor) -> None:
    _check_known("permissions", names, (one.name for one in await change.permissions()))
    check_held(names, by.holds)


def _check_known(field: str, names: Collection[str], known: Any) -> None:
    if unknown := sorted(set(names) - set(known)):
        problems = [FieldProblem(field, f"There is none of this name: {name}") for name in unknown]
        raise Invalid(f"{field}: unknown: {', '.join(unknown)}", details=problems)


def check_held(names: Collection[str], holds: Holds) -> None:
    """Raises CannotGrant."""
    if missing := not_held(names, holds):
        raise CannotGrant(missing)


def _check_seeded(role: Role, *, name: str, permissions: frozenset[str]) -> None:
    if role.seeded and name != role.name:
        raise SeededRole("This role came with Carillon: it keeps its name.")
    if role.seeded and role.name == ADMIN and permissions != frozenset(role.permissions):
        raise SeededRole("The role admin may do everything; that does not change.")


def _tell(concerned: Sequence[UUID], changed: Changed) -> None:
    """The rest hear of it as other processes do: by the events that were committed."""
    for user_id in concerned[:_TOLD_AT_ONCE]:
        changed(user_id)
