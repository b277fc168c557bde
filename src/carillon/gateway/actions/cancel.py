"""Cancel: what no relay has had yet is taken back for certain; about everything else the answer is as certain."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

import structlog

from carillon.contracts.messages import Step
from carillon.contracts.notifications import Notification
from carillon.gateway.actions.ports import NotificationStore
from carillon.gateway.actions.read import read_one
from carillon.gateway.domain import cancelled
from carillon.gateway.errors import AlreadyEnded, AlreadyQueued

_log = structlog.get_logger()


class CancellationStore(Protocol):
    async def cancel(self, notification_ids: Sequence[UUID], step: Step, *, owner: UUID | None) -> set[UUID]:
        """Those that are cancelled by this, and will not be sent. `owner` None: whoever sent them."""
        ...


async def cancel(
    notification_id: UUID,
    cancellations: CancellationStore,
    notifications: NotificationStore,
    *,
    owner: UUID | None,
    by: UUID,
    now: datetime,
) -> Notification:
    """The notification, cancelled now or before. Raises NotificationNotFound, AlreadyQueued, AlreadyEnded.

    `owner` None: whoever sent it. Doing it again does no harm, and settles a call whose answer was lost.
    """
    done = await cancellations.cancel([notification_id], cancelled(now, by=by), owner=owner)
    if done:
        _log.info("notification_cancelled", notification_id=str(notification_id), by=str(by))
    found = await read_one(notification_id, notifications, owner=owner)
    if found.status == "pending":
        raise AlreadyQueued
    if found.status != "cancelled":
        raise AlreadyEnded(found.status)
    return found
