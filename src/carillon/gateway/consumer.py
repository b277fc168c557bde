"""Messages of `status.queue`: decode, record, answer with an outcome for each."""

from collections.abc import Sequence

import msgspec
import structlog

from carillon.contracts.channels import STATUS_QUEUE
from carillon.contracts.messages import DeliveriesReported, DeliveryReported
from carillon.gateway.actions.ports import ReportStore
from carillon.gateway.actions.record import record
from carillon.gateway.errors import RowsRefused
from carillon.kit.broker.port import DeadLetter, Delivery, Done, Handler, Outcome, RetryAfter
from carillon.kit.errors import Unavailable
from carillon.kit.telemetry.metrics import MESSAGES

_log = structlog.get_logger()

_REST = 5.0
_decoder = msgspec.json.Decoder(DeliveriesReported)


def reports_handler(store: ReportStore) -> Handler:
    """Done once committed; while the database is away the messages wait, and do not die of it."""

    async def handle(deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        decoded = [_reports(delivery) for delivery in deliveries]
        readable = [reports for reports in decoded if reports is not None]
        outcomes = iter(await _recorded(readable, store))
        answered = [DeadLetter("undecodable") if reports is None else next(outcomes) for reports in decoded]
        _count(answered)
        return answered

    return handle


async def _recorded(messages: Sequence[Sequence[DeliveryReported]], store: ReportStore) -> Sequence[Outcome]:
    try:
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


def _count(outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        MESSAGES.labels("gateway", STATUS_QUEUE, _WORDS[type(outcome)]).inc()


_WORDS: dict[type, str] = {Done: "done", RetryAfter: "retried", DeadLetter: "dead"}
