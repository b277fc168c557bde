"""The spans of a notification's way through the gateway's queues, where traces are on: handed over, and reported."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from uuid import UUID

import msgspec

from carillon.contracts.channels import STATUS_QUEUE
from carillon.contracts.messages import DeliveryReported
from carillon.gateway.domain import Due
from carillon.kit.broker.port import PublishFailed
from carillon.kit.telemetry.tracing import TRACING


class _Traced(msgspec.Struct):
    """The part of a message that tells which trace it belongs to."""

    traceparent: str | msgspec.UnsetType = msgspec.UNSET


_traced = msgspec.json.Decoder(_Traced)


@contextmanager
def published(due: Sequence[Due]) -> Iterator[Mapping[UUID, str]]:
    """A span for each message that is handed over in the block and belongs to a trace; what each goes on with."""
    if (spans := TRACING.spans) is None:
        yield {}
        return
    begun = {}
    for row in due:
        if came_with := _traced.decode(row.body).traceparent:
            begun[row.notification_id] = spans.begin_message(
                row.queue,
                "publish",
                traceparent=came_with,
                notification_id=str(row.notification_id),
                correlation_id=row.correlation_id,
            )
    try:
        yield {key: traceparent for key, span in begun.items() if (traceparent := spans.traceparent(span))}
    except Exception as error:
        doubtful = {each.message_id for each in error.failed} if isinstance(error, PublishFailed) else begun.keys()
        for key in begun.keys() & doubtful:
            spans.fail(begun[key], type(error).__name__)
        raise
    finally:
        for span in begun.values():
            span.end()


@contextmanager
def recorded(messages: Sequence[Sequence[DeliveryReported]]) -> Iterator[None]:
    """A span for each report that is recorded in the block and belongs to a trace."""
    if (spans := TRACING.spans) is None:
        yield
        return
    begun = [
        spans.begin_message(
            STATUS_QUEUE,
            "process",
            traceparent=report.traceparent,
            notification_id=str(report.notification_id),
            status=report.status,
        )
        for reports in messages
        for report in reports
        if report.traceparent
    ]
    try:
        yield
    except Exception as error:
        for span in begun:
            spans.fail(span, type(error).__name__)
        raise
    finally:
        for span in begun:
            span.end()
