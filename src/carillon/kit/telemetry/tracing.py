"""Whether anything is traced: a switch that is off until a process is told where its traces go. Off it costs one look,
and nothing of OpenTelemetry is imported."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from carillon.kit.settings import SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

    from carillon.kit.telemetry.spans import Spans

TRACEPARENT = "traceparent"
"""The header of W3C's trace context, in HTTP and on messages."""
_PATIENCE = 5.0
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class _Tracing:
    """`spans` is None while nothing is traced. `broker`: what the process's broker is, in OpenTelemetry's word."""

    __slots__ = ("broker", "spans")

    def __init__(self) -> None:
        self.spans: Spans | None = None
        self.broker = ""

    def traceparent(self) -> str | None:
        """That of the work in hand, for whoever goes on with it."""
        return None if self.spans is None else self.spans.traceparent()


TRACING = _Tracing()


@contextmanager
def traces_sent(endpoint: str | None, service: str, environ: Mapping[str, str]) -> Iterator[None]:
    """For the length of the block traces go to `endpoint`, or where OpenTelemetry's own variables say; else nowhere.

    Raises SettingsError where they are wanted and cannot be had.
    """
    wanted = endpoint or any(environ.get(name) for name in _ENDPOINTS)
    if not wanted or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        yield
        return
    if (protocol := environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")) != "http/protobuf":
        raise SettingsError(f"OTEL_EXPORTER_OTLP_PROTOCOL: {protocol} is not spoken here, only http/protobuf.")
    with traces_given_to(_exporter(endpoint), service, environ):
        yield


@contextmanager
def traces_given_to(processor: "SpanProcessor", service: str, environ: Mapping[str, str]) -> Iterator[None]:
    """For the length of the block; what is not sent 5 s after its end is dropped."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - only where traces are wanted
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

    from carillon.kit.telemetry.spans import Spans  # noqa: PLC0415

    told = {"service.version": version("carillon")}
    if not environ.get("OTEL_SERVICE_NAME"):
        told["service.name"] = service
    provider = TracerProvider(resource=Resource.create(told), shutdown_on_exit=False)
    provider.add_span_processor(processor)
    before, TRACING.spans = TRACING.spans, Spans(provider.get_tracer("carillon", told["service.version"]))
    try:
        yield
    finally:
        TRACING.spans = before
        last = threading.Thread(target=provider.shutdown, daemon=True)
        last.start()
        last.join(_PATIENCE)


def _exporter(endpoint: str | None) -> "SpanProcessor":
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise SettingsError(
            "CARILLON_OTLP_ENDPOINT: traces need the extra packages of carillon[traces], which are not installed."
        ) from error
    to = f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None  # None: by OpenTelemetry's own variables
    return BatchSpanProcessor(OTLPSpanExporter(endpoint=to))
