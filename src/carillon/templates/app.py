"""Wires the templates service: database, callers, routes."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from uuid import UUID

from carillon.clients.authentication import Callers
from carillon.clients.own_token import own_token
from carillon.clients.user_events import follow
from carillon.contracts.channels import topology
from carillon.contracts.rendering import CompiledTemplates
from carillon.kit.auth import Authenticator
from carillon.kit.broker.open import open_broker
from carillon.kit.database import Database, open_database
from carillon.kit.http.app import build_app
from carillon.kit.http.client import ServiceClient, open_session
from carillon.kit.http.limiting import CallerLimit, caller_limit
from carillon.kit.http.system import HealthCheck
from carillon.kit.migrations import migrate as migrate_schema
from carillon.kit.service import Loop, Running, Service
from carillon.templates import actions
from carillon.templates.routes import ROUTES, Room
from carillon.templates.settings import TemplatesSettings
from carillon.templates.store import TemplateStore

MIGRATIONS = Path(__file__).parent / "migrations"
_NOBODY = UUID(int=0)


def build(settings: TemplatesSettings) -> Service:
    """The service; nothing is opened yet."""

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Running]:
        token = own_token(settings.token_file, "templates")
        async with (
            open_database(settings.database_url, name="templates", size=settings.database_pool) as database,
            open_broker(settings.broker_url, topology(settings.retry_delays), name="templates") as broker,
            open_session() as session,
            caller_limit(settings.requests_per_minute, settings.redis_url, service="templates") as limit,
        ):
            callers = Callers(ServiceClient(session, settings.users_url, token=token), service="templates")
            watching: dict[str, Loop] = {"watch_revocations": lambda: follow(broker, callers.revocations)}
            yield running(settings, database, callers, limit, verify=callers.strictly, loops=watching)

    return Service("templates", opened, ("/api/v1/templates",))


def running(
    settings: TemplatesSettings,
    database: Database,
    authenticate: Authenticator,
    limit: CallerLimit | None = None,
    *,
    verify: Authenticator | None = None,
    loops: Mapping[str, Loop] | None = None,
) -> Running:
    """The service on resources that are open."""
    room = Room(TemplateStore(database), CompiledTemplates(), settings.default_language)
    checks = {"database": HealthCheck(database.ping, without="nothing; workers go on with what they know", vital=True)}
    checks |= limit.checks() if limit else {}
    app = build_app(
        "templates",
        ROUTES,
        authenticate=authenticate,
        verify=verify,
        state={"room": room},
        checks=checks,
        title="Carillon templates",
        limit=limit,
    )
    return Running(app, loops or {}, checks)


async def migrate(settings: TemplatesSettings) -> None:
    """Bring the schema up to date."""
    await migrate_schema(settings.database_url, "templates", MIGRATIONS)


async def seed(settings: TemplatesSettings) -> None:
    """Publish the demo templates where there is no template at all."""
    async with open_database(settings.database_url, name="templates-seed", size=1) as database:
        await actions.seed(TemplateStore(database), by=_NOBODY)


async def seed_account_mails(settings: TemplatesSettings) -> None:
    """Publish the templates of mails about accounts, each where there is none of its code."""
    async with open_database(settings.database_url, name="templates-seed", size=1) as database:
        await actions.seed_account_mails(TemplateStore(database), by=_NOBODY)
