"""Messages of `status.queue` and of the queue of erasures: decode, call one action, an outcome for each."""

from collections.abc import Sequence

import msgspec
import structlog

from carillon.contracts.channels import ERASURES_QUEUE, STATUS_QUEUE
from carillon.contracts.messages import DeliveriesReported, DeliveryReported
from carillon.contracts.users import UserErased
from carillon.gateway.actions.forget import ErasureStore, forget
from carillon.gateway.actions.ports import ReportStore
from carillon.gateway.actions.record import record
from carillon.gateway.errors import RowsRefused
from carillon.gateway.tracing import recorded
from carillon.kit.broker.port import OUTCOMES, DeadLetter, Delivery, Done, Handler, Outcome, RetryAfter
from carillon.kit.errors import Unavailable
from carillon.kit.telemetry.metrics import MESSAGES

_log = structlog.get_logger()

_REST = 5.0
_SOON, _LATEST = 2.0, 60.0
_decoder = msgspec.json.Decoder(DeliveriesReported)


def reports_handler(store: ReportStore) -> Handler:
    """Done once committed; while the database is away the messages wait, and do not die of it."""

    async def handle(deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        decoded = [_reports(delivery) for delivery in deliveries]
        readable = [reports for reports in decoded if reports is not None]
        outcomes = iter(await _recorded(readable, store))
        answered = [DeadLetter("undecodable") if reports is None else next(outcomes) for reports in decoded]
        _count(answered, STATUS_QUEUE)
        return answered

    return handle


def erasures_handler(store: ErasureStore) -> Handler:
    """Done once everything is forgotten; what is still being sent is looked at again."""

    async def handle(deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        answered = [await _forgotten(delivery, store) for delivery in deliveries]
        _count(answered, ERASURES_QUEUE)
        return answered

    return handle


async def _forgotten(delivery: Delivery, store: ErasureStore) -> Outcome:
    try:
        user_id = msgspec.json.decode(delivery.body, type=UserErased).user_id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        _log.warning("erasure_undecodable", message_id=str(delivery.message_id))
        return DeadLetter("undecodable")
    try:
        if await forget(user_id, store):
            return Done()
        return RetryAfter(min(_LATEST, _SOON * 2.0 ** min(delivery.delivery_count, 10)), "notifications_pending")
    except Unavailable as error:
        _log.warning("erasure_waits", reason=error.message)
        return RetryAfter(_REST, "database_away")


async def _recorded(messages: Sequence[Sequence[DeliveryReported]], store: ReportStore) -> Sequence[Outcome]:
    try:
        with recorded(messages):
            await record([report for reports in messages for report in reports], store)
    except Unavailable as error:
        _log.warning("reports_wait", reason=error.message, messages=len(messages))
        return [RetryAfter(_REST, "database_away")] * len(messages)
    except RowsRefused as error:
        if len(messages) == 1:
            _log.warning("report_refused", error=str(error))
            return [DeadLetter("unstorable")]
        return [outcome for one in messages for outcome in await _recorded([one], store)]
    return [Done()] * len(messages)


def _reports(delivery: Delivery) -> Sequence[DeliveryReported] | None:
    try:
        return _decoder.decode(_without_nul(delivery.body)).reports
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        _log.warning("report_undecodable", message_id=str(delivery.message_id))
        return None


def _without_nul(body: bytes) -> bytes:
    r"""PostgreSQL keeps no NUL; a provider's words may hold one. `\u0000` becomes the replacement character."""
    return body.replace(rb"\u0000", rb"\ufffd")


def _count(outcomes: Sequence[Outcome], queue: str) -> None:
    for outcome in outcomes:
        MESSAGES.labels("gateway", queue, OUTCOMES[type(outcome)]).inc()
