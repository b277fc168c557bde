"""The push worker's only wiring: the pipeline of `delivery`, and FCM."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from carillon.delivery.app import Neighbours, Worker, build_worker, end_claims
from carillon.kit.migrations import migrate as migrate_schema
from carillon.kit.service import Service
from carillon.kit.settings import SettingsError
from carillon.push_worker.channel import PushChannel
from carillon.push_worker.providers.fcm import FcmProvider
from carillon.push_worker.providers.oauth import AccessTokens, read_service_account
from carillon.push_worker.settings import PushWorkerSettings

NAME = "push_worker"
MIGRATIONS = Path(__file__).parent / "migrations"


def build(settings: PushWorkerSettings) -> Service:
    """A bad setting raises SettingsError here, before anything is opened; the account's file is read at opening."""
    if settings.service_account_file == Path():
        raise SettingsError("CARILLON_SERVICE_ACCOUNT_FILE: name the file of the FCM project's service account.")

    @asynccontextmanager
    async def channel(neighbours: Neighbours) -> AsyncIterator[PushChannel]:
        account = read_service_account(settings.service_account_file)
        fcm = FcmProvider(
            neighbours.session,
            AccessTokens(neighbours.session, account),
            url=settings.fcm_url,
            project=account.project_id,
            device_gone=neighbours.users.device_gone,
            seconds=settings.send_seconds / 3,
        )
        yield PushChannel([fcm])

    return build_worker(Worker(NAME, "push", settings, channel))


async def end_leases(settings: PushWorkerSettings) -> None:
    """Let this worker's claims lapse: only for who knows that every process of it is dead."""
    await end_claims(settings, NAME)


async def migrate(settings: PushWorkerSettings) -> None:
    """Bring this worker's schema up to date."""
    await migrate_schema(settings.database_url, NAME, MIGRATIONS)
