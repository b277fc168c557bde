"""`carillon run SERVICE` and `carillon migrate`: the services as separate processes, each with its own database."""

from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

import carillon.templates.app
import carillon.users.app
from carillon.kit.broker.postgres.schema import migrate_broker
from carillon.kit.service import bind, serve
from carillon.kit.settings import Settings, load
from carillon.kit.telemetry.logs import LogFormat, LogLevel, configure_logs
from carillon.services import SERVICES


class ProcessSettings(Settings, frozen=True, kw_only=True):
    """What every `carillon run` reads beside its service's own settings."""

    host: Annotated[str, Meta(description="Address to listen on")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to listen on")] = 8000
    log_level: Annotated[LogLevel, Meta(description="debug, info, warning or error")] = "info"
    log_format: Annotated[LogFormat, Meta(description="json or text")] = "json"


async def run(name: str) -> None:
    """Run one service until SIGTERM or SIGINT."""
    process = load(ProcessSettings, name)
    entry = SERVICES[name]
    settings = load(entry.settings, name)
    configure_logs(process.log_level, process.log_format)
    service = entry.build(settings)
    await serve([service], bind(process.host, process.port))


async def migrate(data_dir: Path) -> None:
    """Bring every schema up to date, the broker's too where it is PostgreSQL; then make the first tokens."""
    known: dict[str, Any] = {name: load(entry.settings, name) for name, entry in SERVICES.items()}
    for url in sorted({getattr(settings, "broker_url", "") for settings in known.values()}):
        if url.startswith("postgres"):
            await migrate_broker(url)
    for name, entry in SERVICES.items():
        await entry.migrate(known[name])
    await carillon.users.app.bootstrap(known["users"], data_dir)
    await carillon.templates.app.seed_account_mails(known["templates"])
