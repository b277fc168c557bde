"""`carillon run SERVICE` and `carillon migrate`: the services as separate processes, each with its own database."""

from pathlib import Path
from typing import Any

from carillon.kit.broker.postgres.schema import migrate_broker
from carillon.kit.service import bind, serve
from carillon.kit.settings import load
from carillon.kit.telemetry.logs import configure_logs
from carillon.process_settings import ProcessSettings
from carillon.services import SERVICES


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
    from carillon.templates.app import seed_account_mails  # noqa: PLC0415 - who runs the gateway needs neither
    from carillon.users.app import bootstrap  # noqa: PLC0415

    known: dict[str, Any] = {name: load(entry.settings, name) for name, entry in SERVICES.items()}
    for url in sorted({getattr(settings, "broker_url", "") for settings in known.values()}):
        if url.startswith("postgres"):
            await migrate_broker(url)
    for name, entry in SERVICES.items():
        await entry.migrate(known[name])
    await bootstrap(known["users"], data_dir)
    await seed_account_mails(known["templates"])
