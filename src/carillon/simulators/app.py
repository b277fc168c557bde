"""Wires the simulators: a mail server, a push provider, and the mailbox that shows what they got."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from carillon.kit.auth import Caller
from carillon.kit.coalescer import coalescing
from carillon.kit.database import open_database
from carillon.kit.errors import Unauthenticated
from carillon.kit.http.app import build_app
from carillon.kit.http.system import HealthCheck
from carillon.kit.migrations import migrate as migrate_schema
from carillon.kit.service import Running, Service, bind
from carillon.simulators.actions import AccessTokens, Captured
from carillon.simulators.fcm import Fcm, beside
from carillon.simulators.routes import ROUTES, Room
from carillon.simulators.service_account import ensure_service_account, load_public_key, read_service_account
from carillon.simulators.settings import SimulatorsSettings
from carillon.simulators.smtp import mail_server
from carillon.simulators.store import CapturedStore

__all__ = ["build", "ensure_service_account", "migrate"]

MIGRATIONS = Path(__file__).parent / "migrations"
_TRIM_SECONDS = 30


def build(settings: SimulatorsSettings, *, smtp_socket: socket.socket | None = None) -> Service:
    """The service; nothing is opened yet. `smtp_socket` is one that listens already, in place of host and port."""

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Running]:
        account = await asyncio.to_thread(read_service_account, settings.simulated_account_file)
        tokens = AccessTokens(
            load_public_key(account),
            email=account["client_email"],
            audience=account.get("token_uri", ""),
            seconds=settings.access_token_seconds,
        )
        listening = smtp_socket or bind(settings.smtp_host, settings.smtp_port)
        async with contextlib.AsyncExitStack() as stack:
            database = await stack.enter_async_context(
                open_database(settings.database_url, name="simulators", size=settings.database_pool)
            )
            store = CapturedStore(database)
            mails = await stack.enter_async_context(coalescing(store.keep_mails, size=100))
            pushes = await stack.enter_async_context(coalescing(store.keep_pushes, size=100))
            await stack.enter_async_context(mail_server(mails, listening, max_bytes=settings.smtp_max_bytes))
            checks = {"database": HealthCheck(database.ping, without="nothing: mail gets a 451", vital=True)}
            app = build_app(
                "simulators",
                ROUTES,
                authenticate=_nobody,
                state={"room": Room(store, settings.mailbox_open)},
                checks=checks,
                title="Carillon simulators",
            )
            yield Running(
                beside(Fcm(account["project_id"], tokens, pushes), app),
                loops={"trim": lambda: _trim(store, settings.max_messages)},
                checks=checks,
            )

    return Service("simulators", opened, ("/mailbox", "/simulators"))


async def migrate(settings: SimulatorsSettings) -> None:
    """Bring the schema up to date."""
    await migrate_schema(settings.database_url, "simulators", MIGRATIONS)


async def _trim(store: Captured, keep: int) -> None:
    while True:
        await store.trim(keep)
        await asyncio.sleep(_TRIM_SECONDS)


async def _nobody(token: str) -> Caller:
    """Every route here is open: no token is ever asked for."""
    del token
    raise Unauthenticated
