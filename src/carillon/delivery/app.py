"""Builds a channel worker: the only wiring of the pipeline. A channel brings its name and how it is opened."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

import aiohttp

from carillon.clients.own_token import own_token
from carillon.clients.templates import TemplatesClient
from carillon.clients.user_events import follow
from carillon.clients.users import UsersClient
from carillon.contracts import channels
from carillon.contracts.channels import LANES, topology
from carillon.delivery.actions.tools import Limits, Tools
from carillon.delivery.consumer import LaneConsumer
from carillon.delivery.deliveries import CoalescedDeliveries
from carillon.delivery.domain import Policy
from carillon.delivery.metrics import Endings
from carillon.delivery.pool import Pool
from carillon.delivery.ports import Channel, Contacts, Templates
from carillon.delivery.providers import Route
from carillon.delivery.reports import ReportPublisher
from carillon.delivery.retention import keep_retired
from carillon.delivery.settings import WorkerSettings
from carillon.delivery.store import DeliveriesStore, end_leases
from carillon.kit.auth import Caller
from carillon.kit.breaker import Breaker
from carillon.kit.broker.open import open_broker
from carillon.kit.broker.port import Broker, Tuning
from carillon.kit.coalescer import coalescing
from carillon.kit.database import Database, open_database
from carillon.kit.errors import Unauthenticated
from carillon.kit.http.app import build_app
from carillon.kit.http.client import ServiceClient, open_session
from carillon.kit.http.system import HealthCheck
from carillon.kit.service import Loop, Running, Service
from carillon.kit.settings import SettingsError

_LONGEST_REST = 30.0
# Nobody waits for what comes after a send, and a statement or a message for each few mails is dear. An outcome that is
# not written yet is one that a kill makes doubtful, so that one lingers less.
_SETTLE_LINGERS = 0.004
_REPORTS_LINGER = 0.02


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What a channel may use while it is opened, and the look-ups of the pipeline."""

    session: aiohttp.ClientSession
    users: UsersClient
    templates: TemplatesClient
    checks: Mapping[str, HealthCheck]


OpenChannel = Callable[[Neighbours], AbstractAsyncContextManager[Channel]]


@dataclass(frozen=True, slots=True)
class Worker:
    """`name` is the service and its schema."""

    name: str
    channel: channels.Channel
    settings: WorkerSettings
    open_channel: OpenChannel


def build_worker(worker: Worker) -> Service:
    """A bad setting raises SettingsError here, before anything is opened."""
    _check(worker.settings)

    @asynccontextmanager
    async def opened() -> AsyncIterator[Running]:
        settings = worker.settings
        token = own_token(settings.token_file, worker.name)
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(open_database(settings.database_url, name=worker.name))
            broker = await stack.enter_async_context(
                open_broker(
                    settings.broker_url,
                    topology(settings.retry_delays),
                    name=f"carillon-{worker.name}",
                    tuning=Tuning(lease=settings.broker_lease_seconds),
                )
            )
            session = await stack.enter_async_context(open_session(connections=max(100, settings.send_slots)))
            neighbours = _neighbours(worker, session, token)
            channel = await stack.enter_async_context(worker.open_channel(neighbours))
            running = await stack.enter_async_context(
                working(
                    worker,
                    channel,
                    database,
                    broker,
                    contacts=neighbours.users,
                    templates=neighbours.templates,
                    checks=neighbours.checks,
                )
            )
            watch = {"contacts": lambda: follow(broker, neighbours.users)}
            yield replace(running, loops={**running.loops, **watch})

    return Service(worker.name, opened)


@asynccontextmanager
async def working(
    worker: Worker,
    channel: Channel,
    database: Database,
    broker: Broker,
    *,
    contacts: Contacts,
    templates: Templates,
    checks: Mapping[str, HealthCheck],
) -> AsyncIterator[Running]:
    """The worker among given neighbours; what it has to write is written before the block ends."""
    settings = worker.settings
    store = DeliveriesStore(database, schema=worker.name, channel=worker.channel, lease_seconds=settings.lease_seconds)
    pool = _pool(worker, channel)
    async with (
        coalescing(store.settle, size=500, linger=_SETTLE_LINGERS) as settle,
        coalescing(ReportPublisher(broker, service=worker.name), size=1000, linger=_REPORTS_LINGER) as report,
    ):
        tools = Tools(
            channel=channel,
            contacts=contacts,
            templates=templates,
            deliveries=CoalescedDeliveries(store, settle),
            reports=report,
            pool=pool,
            endings=Endings(worker.channel, service=worker.name),
            policy=_policy(settings),
            limits=Limits(settings.lease_seconds, settings.send_seconds, settings.retry_delays),
        )
        own = {**_checks(database, broker, pool), **checks}
        app = build_app(worker.name, [], authenticate=_nobody, state={}, checks=own, title=f"Carillon {worker.name}")
        yield Running(app, {**_lanes(worker, broker, tools), **_retention(worker, store)}, own)


def _lanes(worker: Worker, broker: Broker, tools: Tools) -> Mapping[str, Loop]:
    settings = worker.settings
    return {
        lane: LaneConsumer(
            broker,
            tools,
            service=worker.name,
            lane=lane,
            size=settings.batch_size,
            in_flight=settings.batches_in_flight,
        ).run
        for lane in LANES
    }


def _retention(worker: Worker, store: DeliveriesStore) -> Mapping[str, Loop]:
    """None where everything is kept for ever."""
    days = worker.settings.keep_days
    return {"retention": lambda: keep_retired(store, days, service=worker.name)} if days else {}


def _neighbours(worker: Worker, session: aiohttp.ClientSession, token: str) -> Neighbours:
    settings = worker.settings
    asked = {
        name: ServiceClient(session, url, token=token)
        for name, url in (("users", settings.users_url), ("templates", settings.templates_url))
    }
    users = UsersClient(
        asked["users"],
        fresh_seconds=settings.contact_fresh_seconds,
        stale_seconds=settings.contact_stale_seconds,
        service=worker.name,
    )
    templates = TemplatesClient(
        asked["templates"],
        fresh_seconds=settings.template_fresh_seconds,
        stale_seconds=settings.template_stale_seconds,
        service=worker.name,
    )
    checks = {
        "users": _answers(asked["users"], "/.well-known/jwks.json", "Known contacts are served; the others wait."),
        "templates": _answers(asked["templates"], "/api/v1/templates?limit=1", "Cached versions are sent."),
    }
    return Neighbours(session, users, templates, checks)


def _answers(client: ServiceClient, path: str, without: str) -> HealthCheck:
    async def probe() -> None:
        await client.call("GET", path)

    return HealthCheck(probe, without)


def _checks(database: Database, broker: Broker, pool: Pool) -> Mapping[str, HealthCheck]:
    async def providers() -> None:
        if down := [name for name, state in pool.states().items() if state == "open"]:
            raise ConnectionError(", ".join(down))

    return {
        "database": HealthCheck(database.ping, "Nothing is sent; messages wait in their queues.", vital=True),
        "broker": HealthCheck(broker.ping, "Nothing new is taken; delivery resumes by itself.", vital=True),
        "providers": HealthCheck(
            providers, "Messages wait without using up attempts, or take another provider.", states=pool.states
        ),
    }


def _check(settings: WorkerSettings) -> None:
    topology(settings.retry_delays)
    if list(settings.retry_delays) != sorted(set(settings.retry_delays)):
        raise SettingsError("CARILLON_RETRY_DELAYS: give the delays in seconds, ascending, for example 5,30,120.")
    if settings.send_seconds >= settings.lease_seconds:
        raise SettingsError("CARILLON_SEND_SECONDS: must be below CARILLON_LEASE_SECONDS, or claims lapse mid-send.")


def _policy(settings: WorkerSettings) -> Policy:
    return Policy(
        max_attempts=settings.max_attempts,
        base=settings.retry_base_seconds,
        cap=settings.retry_cap_seconds,
        give_up=settings.give_up_seconds,
    )


def _pool(worker: Worker, channel: Channel) -> Pool:
    slots = worker.settings.send_slots
    routes = [
        Route(provider, _breaker(worker.settings), service=worker.name, connections=slots)
        for provider in channel.providers
    ]
    return Pool(routes, total=slots, service=worker.name)


def _breaker(settings: WorkerSettings) -> Breaker:
    rest = settings.breaker_seconds
    return Breaker(
        failures=settings.breaker_failures,
        ratio=settings.breaker_ratio,
        calls=settings.breaker_calls,
        rest_seconds=rest,
        longest_rest=max(rest, _LONGEST_REST),
    )


async def end_claims(settings: WorkerSettings, schema: str) -> None:
    """Let this worker's claims lapse: only for who knows that every process of it is dead."""
    async with open_database(settings.database_url, name=schema, size=1) as database:
        await end_leases(database, schema=schema)


async def _nobody(token: str) -> Caller:
    """A worker answers health and metrics, which need no token."""
    del token
    raise Unauthenticated
