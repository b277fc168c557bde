"""Record: what workers and providers reported becomes status and timeline, in any order, any number of times."""

import logging
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import structlog

from carillon.contracts.channels import Channel
from carillon.contracts.messages import DeliveryReported
from carillon.contracts.notifications import StatusReported
from carillon.gateway.actions.ports import NotificationStore, ReportStore
from carillon.gateway.domain import Known, cut, newest, report_of
from carillon.gateway.errors import NotificationNotFound
from carillon.gateway.watching import waits_of
from carillon.kit.telemetry import correlation

_log = structlog.get_logger()

_MOST_AT_ONCE = 1_000


async def record(reports: Sequence[DeliveryReported], store: ReportStore) -> None:
    """Raises Unavailable, and RowsRefused when one of them is bad data; doing it again does no harm."""
    for piece in cut(reports, _MOST_AT_ONCE):
        greatest = newest(piece)
        steps = [(report.notification_id, step) for report in piece for step in report.steps]
        known = await store.record(list(greatest.values()), steps)
        if waits := waits_of(piece):
            await store.expect(waits)
        if unknown := greatest.keys() - known:
            _log.warning("reports_of_unknown_notifications", count=len(unknown), some=sorted(map(str, unknown))[:5])
        _log.info("reports_recorded", reports=len(piece), notifications=len(known))
        _tell_each(piece)


def _tell_each(reports: Sequence[DeliveryReported]) -> None:
    if _log.is_enabled_for(logging.DEBUG):
        for report in reports:
            told = {
                "notification_id": str(report.notification_id),
                "correlation_id": report.correlation_id or correlation.current(),
            }
            _log.debug("report_recorded", status=report.status, stage=report.stage, **told)


async def record_word(
    said: StatusReported, channel: Channel, *, notifications: NotificationStore, reports: ReportStore, now: datetime
) -> Known:
    """A provider's word on one notification; answers where it stands then. Raises NotificationNotFound."""
    known = await _of_channel(said.notification_id, channel, notifications)
    await record([report_of(said, known, now)], reports)
    return await _of_channel(said.notification_id, channel, notifications)


async def _of_channel(notification_id: str, channel: Channel, notifications: NotificationStore) -> Known:
    try:
        key = UUID(notification_id)
    except ValueError:
        raise NotificationNotFound from None
    known = await notifications.one(key, owner=None)
    if known is None or known.notification.notification_type != channel:
        raise NotificationNotFound
    return known
