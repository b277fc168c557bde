"""Spans, by OpenTelemetry's conventions and without personal data; imported only where something is traced."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

from opentelemetry import context as contexts
from opentelemetry.trace import (
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
    use_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from carillon.kit.telemetry.tracing import TRACEPARENT, TRACING

_W3C = TraceContextTextMapPropagator()
_SERVER_ERROR = 500
Attribute = str | int | bool
Kind = Literal["server", "client", "producer", "consumer"]


class Spans:
    """Begins spans and hands their context on. What is begun by `begin` is ended by whoever began it."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def begin(
        self, name: str, kind: Kind, attributes: Mapping[str, Attribute], *, headers: Mapping[str, str] | None = None
    ) -> Span:
        """A child of what `headers` tell of, where they are given (a trace of its own where they tell of none); else
        of the work in hand."""
        parent = None if headers is None else _W3C.extract(headers, contexts.Context())
        return self._tracer.start_span(name, parent, SpanKind[kind.upper()], dict(attributes))

    def begin_message(
        self, queue: str, operation: Literal["publish", "process"], *, traceparent: str | None, **ours: Attribute
    ) -> Span:
        """A span about a message; `ours` are told as `carillon.<name>`."""
        publish = operation == "publish"
        attributes: dict[str, Attribute] = {
            "messaging.system": TRACING.broker,
            "messaging.destination.name": queue,
            "messaging.operation.name": operation,
            "messaging.operation.type": "send" if publish else operation,
            **{f"carillon.{name}": value for name, value in ours.items()},
        }
        headers = {TRACEPARENT: traceparent} if traceparent else {}
        return self.begin(f"{queue} {operation}", "producer" if publish else "consumer", attributes, headers=headers)

    @contextmanager
    def span(self, name: str, kind: Kind, attributes: Mapping[str, Attribute]) -> Iterator[Span]:
        """A child of the work in hand, for the length of the block; what raises through it is noted by its type."""
        span = self.begin(name, kind, attributes)
        try:
            with use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
                yield span
        except Exception as error:
            self.fail(span, type(error).__name__)
            raise
        finally:
            span.end()

    def enter(self, span: Span) -> None:
        """The work in hand of this task, until it ends."""
        contexts.attach(set_span_in_context(span))

    def traceparent(self, span: Span | None = None) -> str | None:
        """Of the span, or of the work in hand; None where that is part of no trace."""
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, None if span is None else set_span_in_context(span))
        return carrier.get(TRACEPARENT)

    def headers(self) -> dict[str, str]:
        """What an HTTP request takes along from the work in hand."""
        carrier: dict[str, str] = {}
        _W3C.inject(carrier)
        return carrier

    @property
    def in_hand(self) -> SpanContext | None:
        """The trace that the work in hand is part of."""
        found = get_current_span().get_span_context()
        return found if found.is_valid else None

    def fail(self, span: Span, word: str) -> None:
        """`word` is one of ours, or the name of a type: never what somebody wrote."""
        span.set_attribute("error.type", word)
        span.set_status(Status(StatusCode.ERROR))

    def answered(self, span: Span, status: int) -> None:
        span.set_attribute("http.response.status_code", status)
        if status >= _SERVER_ERROR:
            self.fail(span, str(status))
