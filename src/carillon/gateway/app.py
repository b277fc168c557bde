"""The gateway's only wiring: settings become a Service."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from carillon.clients.authentication import Callers
from carillon.clients.own_token import own_token
from carillon.clients.templates import TemplatesClient
from carillon.clients.user_events import follow
from carillon.clients.users import UsersClient
from carillon.contracts.channels import ERASURES_QUEUE, FAILED_QUEUE, STATUS_QUEUE, topology
from carillon.contracts.rendering import CompiledTemplates
from carillon.gateway.actions.accept import Acceptor, committing
from carillon.gateway.actions.accept_batch import BatchAcceptor
from carillon.gateway.actions.broadcast import AudienceReader, Studio
from carillon.gateway.actions.dry_run import Rehearsal
from carillon.gateway.actions.enqueue import Enqueuing, keep_enqueuing
from carillon.gateway.actions.look_up import Neighbours
from carillon.gateway.actions.measure import Backlog, keep_measured
from carillon.gateway.actions.ports import Contacts, ReportStore, Templates
from carillon.gateway.actions.prepare import keep_prepared, prepare
from carillon.gateway.actions.reconcile import Reconciling, keep_reconciled
from carillon.gateway.actions.relay import Relaying, relay
from carillon.gateway.actions.replay import Replaying
from carillon.gateway.actions.retire import keep_retired
from carillon.gateway.actions.room import Room
from carillon.gateway.actions.share import keep_shared
from carillon.gateway.actions.tally import TalliedAcceptances, TalliedReports, Tallies
from carillon.gateway.consumer import erasures_handler, reports_handler
from carillon.gateway.dead_letter_consumer import dead_letters_handler
from carillon.gateway.dead_letter_routes import Mortuary
from carillon.gateway.door import door
from carillon.gateway.routes import ROUTES, Gateway
from carillon.gateway.settings import GatewaySettings
from carillon.gateway.stats_routes import Figures
from carillon.gateway.store.acceptances import Acceptances
from carillon.gateway.store.broadcasts import Broadcasts
from carillon.gateway.store.cancellations import Cancellations
from carillon.gateway.store.dead_letters import DeadLetters
from carillon.gateway.store.erasures import Erasures
from carillon.gateway.store.minute_counts import MinuteCounts
from carillon.gateway.store.notifications import Notifications
from carillon.gateway.store.outbox import Outbox
from carillon.gateway.store.partitions import Partitions
from carillon.gateway.store.reports import Reports
from carillon.gateway.store.retirements import Retirements
from carillon.gateway.store.session import steady
from carillon.gateway.store.watched import WatchedNotifications
from carillon.gateway.watching import Bounds
from carillon.kit.auth import Authenticator
from carillon.kit.broker.open import open_broker
from carillon.kit.broker.port import Broker, Tuning
from carillon.kit.bulkhead import Bulkhead
from carillon.kit.database import Database, open_database
from carillon.kit.http.app import build_app
from carillon.kit.http.client import ServiceClient, open_session
from carillon.kit.http.door import Admitting, KnownTokens
from carillon.kit.http.limiting import CallerLimit, caller_limit
from carillon.kit.http.system import HealthCheck
from carillon.kit.ids import uuid7
from carillon.kit.migrations import migrate as migrate_schema
from carillon.kit.service import Loop, Running, Service

NAME = "gateway"
PATHS = (
    "/api/v1/notifications", "/api/v1/broadcasts", "/api/v1/email", "/api/v1/push", "/api/v1/dead_letters",
    "/api/v1/stats",
)  # fmt: skip
MIGRATIONS = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True)
class Outside:
    """Everything beyond the gateway's own tables."""

    broker: Broker
    contacts: Contacts
    templates: Templates
    audience: AudienceReader
    authenticate: Authenticator
    verify: Authenticator | None = None
    loops: Mapping[str, Loop] = field(default_factory=dict)
    checks: Mapping[str, HealthCheck] = field(default_factory=dict)
    limit: CallerLimit | None = None
    tokens: KnownTokens | None = None
    """Those `authenticate` remembers; without them every request goes through the app."""


def build(settings: GatewaySettings) -> Service:
    """A bad setting raises here, before anything is opened."""
    topology(settings.retry_delays)

    @asynccontextmanager
    async def opened() -> AsyncIterator[Running]:
        async with outside(settings) as world, running(settings, world) as gateway:
            yield gateway

    return Service(NAME, opened, PATHS)


async def migrate(settings: GatewaySettings) -> None:
    """Bring the schema up to date, and make the partitions of this month and the next."""
    await migrate_schema(settings.database_url, NAME, MIGRATIONS)
    async with open_database(settings.database_url, name=f"{NAME}-migrate", size=1) as database:
        await prepare(Partitions(database))


async def end_leases(settings: GatewaySettings) -> None:
    """Take back what relays and broadcasts held: only for who knows that every process of the gateway is dead."""
    async with open_database(settings.database_url, name=f"{NAME}-leases", size=1) as database:
        await Outbox(database).end_leases()
        await Broadcasts(database).end_leases()


@asynccontextmanager
async def outside(settings: GatewaySettings) -> AsyncIterator[Outside]:
    """The broker and the other services, as the settings name them."""
    token = own_token(settings.token_file, NAME)
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(
            open_broker(
                settings.broker_url,
                topology(settings.retry_delays),
                name="carillon-gateway",
                tuning=Tuning(lease=settings.broker_lease_seconds),
            )
        )
        session = await stack.enter_async_context(open_session())
        users = ServiceClient(session, settings.users_url, token=token)
        templates = ServiceClient(session, settings.templates_url, token=token)
        contacts, callers = UsersClient(users, service=NAME), Callers(users, service=NAME)
        limit = await stack.enter_async_context(
            caller_limit(settings.requests_per_minute, settings.redis_url, service=NAME)
        )
        yield Outside(
            broker,
            contacts,
            TemplatesClient(templates, service=NAME),
            contacts,
            callers,
            callers.strictly,
            loops={"watch_users": lambda: follow(broker, contacts, callers.revocations)},
            checks={
                "broker": HealthCheck(
                    broker.ping, "Notifications are accepted and statuses answered; delivery resumes by itself."
                ),
                "users": _neighbour(
                    users, "/.well-known/jwks.json", "Known callers are served; users are not checked."
                ),
                "templates": _neighbour(
                    templates, "/api/v1/templates?limit=1", "Notifications are accepted; templates are not checked."
                ),
                **(limit.checks() if limit else {}),
            },
            limit=limit,
            tokens=callers,
        )


@asynccontextmanager
async def running(settings: GatewaySettings, world: Outside) -> AsyncIterator[Running]:
    """The gateway among given neighbours."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            open_database(steady(settings.database_url), name=NAME, size=settings.database_connections)
        )
        tallies, notifications, backlog = Tallies(), Notifications(database), Backlog(settings.most_waiting)
        acceptances = TalliedAcceptances(Acceptances(database), tallies)
        reports = TalliedReports(Reports(database), tallies)
        grew, outbox, letters = asyncio.Event(), Outbox(database), DeadLetters(database)
        one, many = await stack.enter_async_context(committing(acceptances, grew, size=settings.accept_batch))
        neighbours = Neighbours(world.contacts, world.templates, settings.look_up_seconds)
        enqueuing, replaying = _crowds(settings, world, database, grew, tallies), Replaying(letters, neighbours, grew)
        gateway = Gateway(
            Acceptor(one, acceptances, neighbours, backlog),
            BatchAcceptor(many, acceptances, neighbours, backlog),
            Rehearsal(acceptances, neighbours, CompiledTemplates()),
            notifications,
            reports,
            Cancellations(database),
        )
        checks = {"database": HealthCheck(notifications.ping, "Nothing can be accepted or answered.", vital=True)}
        yield Running(
            build_app(
                NAME,
                ROUTES,
                authenticate=world.authenticate,
                verify=world.verify,
                state={
                    "gateway": gateway,
                    "dead_letters": Mortuary(letters, replaying),
                    "figures": Figures(tallies, backlog),
                    "broadcasts": _studio(world, database, neighbours, enqueuing.changed),
                },
                checks={**checks, **world.checks},
                title="Carillon gateway",
                limit=world.limit,
            ),
            loops={
                **world.loops,
                "relay": _relay(settings, world.broker, outbox, grew),
                "reconcile": _reconciler(settings, world.broker, database, replaying),
                "broadcasts": lambda: keep_enqueuing(enqueuing),
                **_consumed(settings, world.broker, letters, reports, Erasures(database)),
                **_kept(settings, database, tallies),
                "measure": lambda: keep_measured(outbox, world.broker, backlog),
            },
            checks={**checks, **world.checks},
            doors=_doors(world, gateway.acceptor),
        )


def _studio(world: Outside, database: Database, neighbours: Neighbours, changed: asyncio.Event) -> Studio:
    """An audience of millions is counted for seconds: two at a time."""
    counting = Bulkhead(2, patience=1, says="Others are counting their audiences at this moment.")
    return Studio(Broadcasts(database), world.audience, neighbours, changed, counting)


def _relay(settings: GatewaySettings, broker: Broker, outbox: Outbox, grew: asyncio.Event) -> Loop:
    room, lease_seconds = Room(broker.lengths, settings.relay_queue_length), settings.relay_lease_seconds
    relaying = Relaying(outbox, broker, grew, room, size=settings.relay_batch, lease_seconds=lease_seconds)
    return lambda: relay(relaying)


def _reconciler(settings: GatewaySettings, broker: Broker, database: Database, replaying: Replaying) -> Loop:
    bounds = Bounds(settings.overdue_seconds, settings.give_up_seconds, settings.second_look_seconds)
    store, every = WatchedNotifications(database), settings.reconcile_seconds
    return lambda: keep_reconciled(Reconciling(store, broker, replaying, replaying.grew, bounds, every=every))


def _doors(world: Outside, acceptor: Acceptor) -> Sequence[Admitting]:
    tokens = world.tokens
    return [door(acceptor, tokens, service=NAME, counted=world.limit is not None)] if tokens else []


def _kept(settings: GatewaySettings, database: Database, tallies: Tallies) -> Mapping[str, Loop]:
    """Counts that are shared, months made ahead, and what is old leaves, unless everything is kept for ever."""
    days, counts = settings.keep_days, MinuteCounts(database, uuid7())
    sharing: dict[str, Loop] = {
        "share": lambda: keep_shared(tallies, counts),
        "partitions": lambda: keep_prepared(Partitions(database)),
    }
    return sharing | ({"retention": lambda: keep_retired(Retirements(database), days)} if days else {})


def _crowds(
    settings: GatewaySettings, world: Outside, database: Database, grew: asyncio.Event, tallies: Tallies
) -> Enqueuing:
    """At half of the bound beyond which others are refused, broadcasts wait: they leave room."""
    return Enqueuing(
        Broadcasts(database),
        world.audience,
        Cancellations(database),
        Outbox(database),
        grew,
        asyncio.Event(),
        lambda fresh: tallies.count({"accepted": fresh}),
        most_waiting=min(settings.broadcast_waiting, settings.most_waiting // 2),
        failure_ratio=settings.broadcast_failure_ratio,
    )


def _consumed(
    settings: GatewaySettings, broker: Broker, letters: DeadLetters, reports: ReportStore, erasures: Erasures
) -> Mapping[str, Loop]:
    """The loops that each empty one queue."""
    return {
        "recorder": lambda: broker.consume(
            STATUS_QUEUE,
            reports_handler(reports),
            size=settings.recorder_batch,
            in_flight=settings.recorder_in_flight,
        ),
        "erasures": lambda: broker.consume(ERASURES_QUEUE, erasures_handler(erasures), size=20, in_flight=1),
        "dead_letters": lambda: broker.consume(
            FAILED_QUEUE, dead_letters_handler(letters, reports), size=100, in_flight=1
        ),
    }


def _neighbour(client: ServiceClient, path: str, without: str) -> HealthCheck:
    async def probe() -> None:
        await client.call("GET", path)

    return HealthCheck(probe, without)
