"""What a process reads beside its services' own settings."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from carillon.kit.settings import Settings
from carillon.kit.telemetry.logs import LogFormat, LogLevel

_TRACES = "Where traces go, by OTLP over HTTP (http://collector:4318); OTEL_EXPORTER_OTLP_ENDPOINT does it too"


class PlatformSettings(Settings, frozen=True, kw_only=True):
    """What `carillon up` itself reads."""

    data_dir: Annotated[Path, Meta(description="Where everything that must survive a restart lives")] = Path(
        ".carillon"
    )
    host: Annotated[str, Meta(description="Address to listen on; loopback unless told otherwise")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port of the front door")] = 8000
    log_level: Annotated[LogLevel, Meta(description="debug, info, warning or error")] = "warning"
    log_format: Annotated[LogFormat, Meta(description="json or text")] = "text"
    otlp_endpoint: Annotated[str | None, Meta(description=_TRACES)] = None


class ProcessSettings(Settings, frozen=True, kw_only=True):
    """What every `carillon run` reads beside its service's own settings."""

    host: Annotated[str, Meta(description="Address to listen on")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to listen on")] = 8000
    log_level: Annotated[LogLevel, Meta(description="debug, info, warning or error")] = "info"
    log_format: Annotated[LogFormat, Meta(description="json or text")] = "json"
    otlp_endpoint: Annotated[str | None, Meta(description=_TRACES)] = None
