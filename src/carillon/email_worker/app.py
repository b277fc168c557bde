"""The e-mail worker's only wiring: the pipeline of `delivery`, and one or several SMTP servers."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from carillon.delivery.app import Neighbours, Worker, build_worker, end_claims
from carillon.email_worker.channel import EmailChannel
from carillon.email_worker.domain import sender_of
from carillon.email_worker.providers.smtp import SmtpProvider
from carillon.email_worker.servers import servers_of
from carillon.email_worker.settings import EmailWorkerSettings
from carillon.kit.migrations import migrate as migrate_schema
from carillon.kit.service import Service
from carillon.kit.settings import SettingsError

NAME = "email_worker"
MIGRATIONS = Path(__file__).parent / "migrations"


def build(settings: EmailWorkerSettings) -> Service:
    """A bad setting raises SettingsError here, before anything is opened."""
    sender, servers, tls = sender_of(settings.mail_from), servers_of(settings.smtp_url), _trust(settings.smtp_ca_file)

    @asynccontextmanager
    async def channel(_neighbours: Neighbours) -> AsyncIterator[EmailChannel]:
        providers = [
            SmtpProvider(
                server,
                connections=settings.send_slots,
                deadline=settings.send_seconds,
                tls=tls,
                helo=settings.smtp_helo,
            )
            for server in servers
        ]
        try:
            yield EmailChannel(providers, sender=sender, domain=settings.mail_domain)
        finally:
            await asyncio.gather(*(provider.close() for provider in providers))

    return build_worker(Worker(NAME, "email", settings, channel))


async def end_leases(settings: EmailWorkerSettings) -> None:
    """Let this worker's claims lapse: only for who knows that every process of it is dead."""
    await end_claims(settings, NAME)


async def migrate(settings: EmailWorkerSettings) -> None:
    """Bring this worker's schema up to date."""
    await migrate_schema(settings.database_url, NAME, MIGRATIONS)


def _trust(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:
            raise SettingsError(f"CARILLON_SMTP_CA_FILE: {ca_file} holds no certificates ({error}).") from None
    return context
