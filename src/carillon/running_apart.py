"""`carillon run SERVICE` and `carillon migrate`: the services as separate processes, each with its own database."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import structlog

from carillon.kit.broker.port import BrokerUnavailable
from carillon.kit.broker.postgres.schema import MIGRATIONS, broker_version, migrate_broker
from carillon.kit.service import bind, serve
from carillon.kit.settings import load
from carillon.kit.telemetry.logs import configure_logs
from carillon.kit.telemetry.tracing import traces_sent
from carillon.process_settings import ProcessSettings
from carillon.services import SERVICES, Entry

_log = structlog.get_logger()


async def run(name: str) -> None:
    """Run one service until SIGTERM or SIGINT."""
    process = load(ProcessSettings, name)
    entry = SERVICES[name]
    settings = load(entry.settings, name)
    configure_logs(process.log_level, process.log_format, service=name)
    service = entry.build(settings)
    with traces_sent(process.otlp_endpoint, f"carillon-{name}", os.environ):
        async with looking_at_schema(entry, settings):
            await serve([service], bind(process.host, process.port))


@contextlib.asynccontextmanager
async def looking_at_schema(entry: Entry, settings: Any) -> AsyncIterator[None]:
    """One line in the log when the tables are not those of this release: it runs all the same, as in a roll, and nobody
    waits for the look."""

    async def look() -> None:
        if trouble := await entry.trouble_with_schema(settings):
            _log.warning("schema_differs", service=entry.schema, says=trouble)

    looking = asyncio.create_task(look(), name="look_at_schema")
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.wait([looking])


async def migrate(data_dir: Path) -> None:
    """Bring every schema up to date, the broker's too where it is PostgreSQL; then make the first tokens."""
    from carillon.templates.app import seed_account_mails  # noqa: PLC0415 - who runs the gateway needs neither
    from carillon.users.app import bootstrap  # noqa: PLC0415

    known = _settings()
    for url in _broker_databases(known):
        await migrate_broker(url)
    for name, entry in SERVICES.items():
        await entry.migrate(known[name])
    await bootstrap(known["users"], data_dir)
    await seed_account_mails(known["templates"])


async def troubles() -> list[str]:
    """A line for each schema that is not as this release needs it, the broker's too; changes nothing."""
    known = _settings()
    found = await asyncio.gather(*(entry.trouble_with_schema(known[name]) for name, entry in SERVICES.items()))
    lines = [f"{name}: {trouble}" for name, trouble in zip(SERVICES, found, strict=True) if trouble]
    brokers = await asyncio.gather(*(_trouble_with_broker(url) for url in _broker_databases(known)))
    return [*lines, *(f"broker: {trouble}" for trouble in brokers if trouble)]


async def _trouble_with_broker(url: str) -> str:
    newest = len(MIGRATIONS)
    try:
        found = await broker_version(url)
    except BrokerUnavailable as error:
        return f"unreachable. {error}. Start it, or correct its URL."
    if found > newest:
        return f"ahead, at {found}; this release knows {newest}. Nothing is to be migrated."
    return f"behind, at {found}; this release needs {newest}. Run `carillon migrate`." if found < newest else ""


def _settings() -> dict[str, Any]:
    return {name: load(entry.settings, name) for name, entry in SERVICES.items()}


def _broker_databases(known: dict[str, Any]) -> list[str]:
    urls = {getattr(settings, "broker_url", "") for settings in known.values()}
    return sorted(url for url in urls if url.startswith("postgres"))
