"""The spans of deliveries, where traces are on: one for each time a message is in a worker's hands, one for each send,
one for what is told. Without traces each of these is one look."""

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING

import msgspec

from carillon.contracts.channels import STATUS_QUEUE, Channel, queue_of
from carillon.contracts.messages import DeliveryReported
from carillon.delivery.domain import Accepted, Ending, ProviderAnswer
from carillon.delivery.metrics import OUTCOMES
from carillon.delivery.ports import Reports
from carillon.delivery.timeline import Trail
from carillon.kit.telemetry.tracing import TRACING

if TYPE_CHECKING:
    from carillon.delivery.actions.tools import Work

_HARMLESS = ("delivered", "suppressed", "expired", "waits")


def begin(batch: "Sequence[Work]", trails: Sequence[Trail], channel: Channel) -> None:
    """A span for each message, of the trace that it came with; a message that comes again has another."""
    if (spans := TRACING.spans) is None:
        return
    for work, trail in zip(batch, trails, strict=True):
        request = work.request
        trail.span = spans.begin_message(
            queue_of(channel, work.lane),
            "process",
            traceparent=work.traceparent or request.traceparent or None,
            notification_id=str(request.notification_id),
            correlation_id=request.correlation_id,
            generation=request.generation,
            seen_before=work.seen_before,
            template_code=request.template_code,
        )


def enter(trail: Trail) -> None:
    """What this task does from now on is part of the message's span."""
    if trail.span is not None and TRACING.spans is not None:
        TRACING.spans.enter(trail.span)


def end(trail: Trail, ending: Ending) -> None:
    if trail.span is None or (spans := TRACING.spans) is None:
        return
    outcome = OUTCOMES[type(ending)]
    trail.span.set_attribute("carillon.outcome", outcome)
    trail.span.set_attribute("carillon.attempt", getattr(ending, "attempt", 0))
    if outcome not in _HARMLESS:
        spans.fail(trail.span, _word(getattr(ending, "reason", outcome)))
    trail.span.end()


async def told(report: DeliveryReported, reports: Reports) -> None:
    """Hand a report over, so that the gateway goes on with the trace. Raises as `reports` does."""
    if (spans := TRACING.spans) is None:
        await reports(report)
        return
    span = spans.begin_message(
        STATUS_QUEUE, "publish", traceparent=spans.traceparent(), notification_id=str(report.notification_id)
    )
    try:
        await reports(msgspec.structs.replace(report, traceparent=spans.traceparent(span) or msgspec.UNSET))
    except Exception as error:
        spans.fail(span, type(error).__name__)
        raise
    finally:
        span.end()


async def sent(provider: str, answering: Awaitable[ProviderAnswer]) -> ProviderAnswer:
    """What a provider answers, and how long it takes."""
    if (spans := TRACING.spans) is None:
        return await answering
    with spans.span(f"send {provider}", "client", {"carillon.provider": provider}) as span:
        answer = await answering
        if not isinstance(answer, Accepted):
            spans.fail(span, _word(answer.reason))
        return answer


def _word(reason: str) -> str:
    """`missing_variable: name` is `missing_variable`: what stands behind it may be anybody's words."""
    return reason.partition(":")[0]
