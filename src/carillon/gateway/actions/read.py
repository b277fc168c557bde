"""Read: what is known of notifications, to those who may know it."""

from collections.abc import Sequence
from uuid import UUID

from carillon.contracts.notifications import Notification, Timeline
from carillon.gateway.actions.ports import NotificationStore
from carillon.gateway.domain import Known, Wanted, timeline
from carillon.gateway.errors import NotificationNotFound


async def read_one(notification_id: UUID, store: NotificationStore, *, owner: UUID | None) -> Notification:
    """`owner` None: whoever sent it. Raises NotificationNotFound."""
    return _there(await store.one(notification_id, owner=owner)).notification


async def read_request(request_id: str, store: NotificationStore, *, caller_id: UUID) -> Notification:
    """The notification that a caller's request_id made. Raises NotificationNotFound."""
    if "\0" in request_id:
        raise NotificationNotFound
    return _there(await store.of_request(caller_id, request_id)).notification


async def read_timeline(notification_id: UUID, store: NotificationStore, *, owner: UUID | None) -> Timeline:
    """Every step in order. Raises NotificationNotFound."""
    found = await read_one(notification_id, store, owner=owner)
    steps = await store.steps(notification_id)
    return Timeline(notification_id, found.status, found.stage, timeline(found, steps))


async def read_page(
    wanted: Wanted, store: NotificationStore, *, limit: int, page: int
) -> tuple[Sequence[Notification], int]:
    """One page, the newest first, and the total; `page` counts from 1."""
    return await store.page(wanted, limit=limit, offset=(page - 1) * limit)


def _there(known: Known | None) -> Known:
    if known is None:
        raise NotificationNotFound
    return known
