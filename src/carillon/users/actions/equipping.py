"""Devices of a user; each change is announced after its commit, and forgotten here at once."""

from typing import Protocol
from uuid import UUID

from carillon.contracts.people import KnownDevice
from carillon.contracts.users import DeviceGone, DevicePlatform
from carillon.users.actions.changing import Changed
from carillon.users.domain.devices import NewDevice
from carillon.users.domain.roles import Actor
from carillon.users.errors import UnknownDevice, UnknownUser


class DeviceKeeper(Protocol):
    """Tokens, each with one user. What `by` may not change looks as if it were not there; or CannotActOn."""

    async def of_user(
        self, user_id: UUID, *, device_id: UUID | None = None, seen_by: UUID, sees_all: bool
    ) -> list[KnownDevice] | None: ...

    async def register(self, user_id: UUID, device: NewDevice, *, by: Actor) -> tuple[KnownDevice, bool] | None: ...

    async def remove(self, user_id: UUID, device_id: UUID, *, by: Actor) -> KnownDevice | None: ...

    async def put_push_token(self, user_id: UUID, token: str | None, *, by: Actor) -> bool: ...

    async def mark_gone(
        self, user_id: UUID, platform: DevicePlatform, token: str, reason: str, *, actor_id: UUID
    ) -> bool: ...


async def list_devices(user_id: UUID, *, seen_by: UUID, sees_all: bool, keeper: DeviceKeeper) -> list[KnownDevice]:
    """Raises UnknownUser."""
    found = await keeper.of_user(user_id, seen_by=seen_by, sees_all=sees_all)
    if found is None:
        raise UnknownUser
    return found


async def one_device(
    user_id: UUID, device_id: UUID, *, seen_by: UUID, sees_all: bool, keeper: DeviceKeeper
) -> KnownDevice:
    """Raises UnknownDevice, also where the user is unknown."""
    found = await keeper.of_user(user_id, device_id=device_id, seen_by=seen_by, sees_all=sees_all)
    if not found:
        raise UnknownDevice
    return found[0]


async def register_device(
    user_id: UUID, device: NewDevice, *, by: Actor, keeper: DeviceKeeper, changed: Changed
) -> tuple[KnownDevice, bool]:
    """The device, and whether it is new to this user; a device of somebody else moves. Raises UnknownUser,
    TooManyDevices."""
    kept = await keeper.register(user_id, device, by=by)
    if kept is None:
        raise UnknownUser
    changed(user_id)
    return kept


async def remove_device(
    user_id: UUID, device_id: UUID, *, by: Actor, keeper: DeviceKeeper, changed: Changed
) -> KnownDevice:
    """Raises UnknownDevice."""
    removed = await keeper.remove(user_id, device_id, by=by)
    if removed is None:
        raise UnknownDevice
    changed(user_id)
    return removed


async def put_push_token(
    user_id: UUID, token: str | None, *, by: Actor, keeper: DeviceKeeper, changed: Changed
) -> None:
    """Raises UnknownUser, TooManyDevices."""
    if not await keeper.put_push_token(user_id, token, by=by):
        raise UnknownUser
    changed(user_id)


async def mark_device_gone(gone: DeviceGone, *, actor_id: UUID, keeper: DeviceKeeper, changed: Changed) -> bool:
    """False when the token has moved on to somebody else, or is known to be dead: nothing to do."""
    marked = await keeper.mark_gone(gone.user_id, gone.platform, gone.token, gone.reason, actor_id=actor_id)
    if marked:
        changed(gone.user_id)
    return marked
