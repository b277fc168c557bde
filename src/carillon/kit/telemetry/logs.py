"""structlog, as JSON lines on stderr (or readable text on a terminal); events are constant snake_case names."""

import logging
import sys
from functools import partial
from typing import Literal

import structlog
from structlog.typing import EventDict, WrappedLogger

from carillon.kit.telemetry import correlation
from carillon.kit.telemetry.tracing import TRACING

LogFormat = Literal["json", "text"]
LogLevel = Literal["debug", "info", "warning", "error"]


def configure_logs(level: LogLevel = "info", log_format: LogFormat = "json", *, service: str = "") -> None:
    """Once a process, at start: our events and those of libraries (from WARNING on) leave in the same shape, with the
    name of the `service` where the process is one alone."""
    shared: list[structlog.typing.Processor] = [
        _with_correlation_id,
        with_trace_id,
        *([partial(_with_service, service)] if service else []),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, last],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                last,
            ],
            foreign_pre_chain=shared,
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for chatty in (
        "uvicorn.error",
        "asyncpg.pool",
    ):  # a warning per stranger's request, or per try while a server is away
        logging.getLogger(chatty).setLevel(logging.ERROR)


def _with_correlation_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    if (present := correlation.current()) and "correlation_id" not in event:
        event["correlation_id"] = present
    return event


def with_trace_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """So that whoever reads a line finds its trace; a line on another's request has another's trace, or none."""
    its_own = event.get("correlation_id") == correlation.current()
    if its_own and (spans := TRACING.spans) is not None and (part_of := spans.in_hand) is not None:
        event["trace_id"] = format(part_of.trace_id, "032x")
    return event


def _with_service(service: str, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event.setdefault("service", service)
    return event
