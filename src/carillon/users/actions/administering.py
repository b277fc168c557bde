"""Suspending, restoring and erasing people: at once effective, and never the last administrator."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol
from uuid import UUID

import structlog

from carillon.contracts.people import User
from carillon.kit.auth import Caller
from carillon.kit.errors import Forbidden, check_version
from carillon.users.actions.changing import Changed
from carillon.users.actions.granting import Change, Expected
from carillon.users.actions.telling import Told
from carillon.users.domain.roles import Actor, not_held
from carillon.users.errors import CannotActOn, LastAdministrator, UnknownUser

_log = structlog.get_logger()


class ChangeOfPeople(Change, Protocol):
    """One change, in one transaction in which no rights change."""

    async def suspend(self, user_id: UUID) -> None: ...

    async def restore(self, user_id: UUID) -> None: ...

    async def user(self, user_id: UUID) -> User: ...

    async def erase(self, user_id: UUID) -> None: ...

    async def drop_second_factor(self, user_id: UUID, told: Told) -> bool: ...


class Registry(Protocol):
    """Lets one such change be made at a time."""

    def changing(self) -> AbstractAsyncContextManager[ChangeOfPeople]: ...


async def suspend(
    user_id: UUID, reason: str, *, expected: Expected, by: Actor, registry: Registry, changed: Changed
) -> User:
    """Sessions end, tokens stop working. Raises UnknownUser, CannotActOn, LastAdministrator, PreconditionFailed."""
    async with registry.changing() as change:
        await check_acting_on(change, user_id, expected, by)
        if await change.is_last_admin(user_id):
            raise LastAdministrator
        detail = {"reason": reason}
        await change.touch(user_id, actor_id=by.actor_id, action="user_suspended", detail=detail, expected=expected)
        await change.suspend(user_id)
        user = await change.user(user_id)
    changed(user_id)
    _log.info("user_suspended", user_id=str(user_id), actor_id=str(by.actor_id))
    return user


async def restore(user_id: UUID, *, expected: Expected, by: Actor, registry: Registry, changed: Changed) -> User:
    """Personal access tokens work again; sessions have to begin anew. Raises UnknownUser, CannotActOn,
    PreconditionFailed."""
    async with registry.changing() as change:
        await check_acting_on(change, user_id, expected, by)
        await change.touch(user_id, actor_id=by.actor_id, action="user_restored", detail={}, expected=expected)
        await change.restore(user_id)
        user = await change.user(user_id)
    changed(user_id)
    _log.info("user_restored", user_id=str(user_id), actor_id=str(by.actor_id))
    return user


async def erase(user_id: UUID, *, expected: Expected, by: Actor, registry: Registry, changed: Changed) -> None:
    """For good. Raises UnknownUser, CannotActOn, LastAdministrator, PreconditionFailed."""
    async with registry.changing() as change:
        await check_acting_on(change, user_id, expected, by)
        if await change.is_last_admin(user_id):
            raise LastAdministrator
        await change.touch(user_id, actor_id=by.actor_id, action="user_erased", detail={}, expected=expected)
        await change.erase(user_id)
    changed(user_id)
    _log.info("user_erased", user_id=str(user_id), actor_id=str(by.actor_id))


async def check_acting_on(change: Change, user_id: UUID, expected: Expected, by: Actor) -> None:
    """Nobody acts on who holds more. Raises UnknownUser, PreconditionFailed, CannotActOn."""
    grants = await change.grants(user_id)
    if grants is None:
        raise UnknownUser
    check_version(grants.version, expected)
    if user_id == by.actor_id and by.session_id is not None:
        return
    if above := not_held(grants.effective, by.holds):
        raise CannotActOn(above)


def check_person(user_id: UUID, caller: Caller, *, permission: str) -> None:
    """For what concerns a whole person: themselves, signed in, or a holder of `permission`.

    A personal access token was made for less than that. Raises UnknownUser, Forbidden.
    """
    if caller.may(permission):
        return
    if user_id != caller.caller_id:
        raise UnknownUser
    if caller.session_id is None:
        raise Forbidden(f"Sign in for this, or use a token with {permission}.")
