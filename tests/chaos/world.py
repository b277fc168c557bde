"""A whole Carillon in processes of its own, two of each that may be two, with a proxy of ours on every line."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import asyncpg

from tests.chaos.judge import Receipt
from tests.chaos.providers import account_of, provider, taken
from tests.support.platform import CARILLON, QUICK, Platform, clean_environment
from tests.support.processes import end, free_port, spawn
from tests.support.proxy import Proxy, proxy_to
from tests.support.servers import PostgresServer, RabbitServer, RedisServer
from tests.support.simulator import Simulator

BrokerKind = Literal["rabbitmq", "embedded"]
SEND_SLOTS = 10
LEASE_SECONDS = 5
PROCESSES = {
    "users": "users",
    "templates": "templates",
    "gateway_1": "gateway",
    "gateway_2": "gateway",
    "email_worker_1": "email_worker",
    "email_worker_2": "email_worker",
    "push_worker_1": "push_worker",
    "push_worker_2": "push_worker",
}
SERVICES = ("users", "templates", "gateway", "email_worker", "push_worker")
SETTINGS = {
    **QUICK,
    "CARILLON_LEASE_SECONDS": str(LEASE_SECONDS),
    "CARILLON_SEND_SECONDS": "4",
    "CARILLON_BROKER_LEASE_SECONDS": str(LEASE_SECONDS),
    "CARILLON_GATEWAY_RELAY_LEASE_SECONDS": str(LEASE_SECONDS),
    "CARILLON_SEND_SLOTS": str(SEND_SLOTS),
    "CARILLON_MAX_ATTEMPTS": "30",
    "CARILLON_BREAKER_SECONDS": "0.5",
}
SOON_MISSED = {
    "CARILLON_GATEWAY_RECONCILE_SECONDS": "1",
    "CARILLON_GATEWAY_OVERDUE_SECONDS": "8",
    "CARILLON_GATEWAY_SECOND_LOOK_SECONDS": "40",
}
"""For worlds whose queues are emptied: what is missed there is queued anew within half a minute. Others keep the ten
minutes, so that nothing else that is lost is mended before it is seen."""


@dataclass(frozen=True, slots=True)
class Servers:
    """What is not ours; without RabbitMQ the queue is PostgreSQL's."""

    postgres: PostgresServer
    redis: RedisServer
    rabbitmq: RabbitServer | None = None


@dataclass
class World:
    """`links` are the proxies by the name of what stands behind them; `odd` is what went wrong with a fault.
    `in_hand`: how many messages were claimed, and their outcome not yet written, when a fault began, by its name."""

    platform: Platform
    servers: Servers
    providers: dict[str, Simulator]
    links: dict[str, Proxy]
    gateways: tuple[str, str]
    databases: dict[str, str]
    receipts: dict[str, Receipt] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)
    in_hand: dict[str, int] = field(default_factory=dict)

    def spawn(self, name: str, **more: str) -> None:
        """Start a process (again) without waiting for it: its neighbours may be away."""
        command, environment = self.platform.environments[name]
        self.platform.processes[name] = spawn(command, log=self.platform.log, env={**environment, **more})

    async def until_ready(self, name: str, *, within: float = 60) -> None:
        await asyncio.to_thread(self.platform.await_ready, name, within=within)

    @property
    def broker_url(self) -> str:
        """Past the proxy."""
        return self.servers.rabbitmq.url if self.servers.rabbitmq else self.databases["broker"]

    async def collect(self, *names: str) -> None:
        """Note what the providers, or these of them, have taken up to now: they forget when they die."""
        for name in names or self.providers:
            self.receipts |= await asyncio.to_thread(
                lambda source: dict(taken(source, {*self.receipts})), self.providers[name]
            )

    async def ask(self, service: str, statement: str) -> Any:
        """One value of a service's database, past the proxy; None while it is away."""
        with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError):
            async with asyncio.timeout(2):
                connection = await asyncpg.connect(self.databases[service], timeout=2)
                try:
                    return await connection.fetchval(statement, timeout=2)
                finally:
                    connection.terminate()
        return None


def tree_of(pid: int) -> list[int]:
    """A process and all that came of it."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += tree_of(int(child))
    return found


def signal_tree(process: "subprocess.Popen[bytes] | None", sign: signal.Signals) -> None:
    for pid in tree_of(process.pid) if process is not None else []:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sign)


@contextlib.asynccontextmanager
async def world(servers: Servers, folder: Path, **settings: str) -> AsyncIterator[World]:
    """Everything runs and answers; all of it is gone afterwards."""
    async with contextlib.AsyncExitStack() as stack:
        providers = {"provider": provider("smtp", folder), "push_provider": provider("fcm", folder)}
        for each in providers.values():
            stack.callback(lambda one: end(one.process, sign=signal.SIGKILL), each)
            await asyncio.to_thread(each.start)
        made = await _wired(servers, providers, folder, settings, stack)
        stack.callback(_end_all, made)
        await asyncio.to_thread(
            subprocess.run,
            [*CARILLON, "migrate", "--data-dir", str(made.platform.data_dir)],
            env=made.platform.environments["gateway_1"][1],
            check=True,
            timeout=120,
            stdout=subprocess.DEVNULL,
        )
        for name in PROCESSES:
            made.spawn(name)
        await asyncio.gather(*(made.until_ready(name) for name in PROCESSES))
        yield made


async def _wired(
    servers: Servers,
    providers: dict[str, Simulator],
    folder: Path,
    settings: dict[str, str],
    stack: contextlib.AsyncExitStack,
) -> World:
    addresses = {name: f"http://127.0.0.1:{free_port()}" for name in PROCESSES}
    behind = {
        "users": addresses["users"],
        "templates": addresses["templates"],
        "postgres": servers.postgres.dsn(),
        "redis": servers.redis.url,
        "provider": f"smtp://127.0.0.1:{providers['provider'].port}",
        "push_provider": f"http://127.0.0.1:{providers['push_provider'].port}",
        **({"rabbitmq": servers.rabbitmq.url} if servers.rabbitmq else {}),
    }
    links = {name: await stack.enter_async_context(proxy_to(url)) for name, url in behind.items()}
    databases = {name: await servers.postgres.create_database() for name in (*SERVICES, "broker")}
    platform = Platform(
        folder / "data", addresses["gateway_1"], addresses["users"], addresses["templates"], folder / "apart.log"
    )
    shared = _environment(servers, links, databases, behind, platform.data_dir)
    shared |= {"CARILLON_SERVICE_ACCOUNT_FILE": str(account_of(folder)), **settings}
    for name, service in PROCESSES.items():
        own = {f"CARILLON_{service.upper()}_PORT": addresses[name].rpartition(":")[2], "READY_URL": addresses[name]}
        platform.environments[name] = ([*CARILLON, "run", service], clean_environment(**shared, **own))
    return World(platform, servers, providers, links, (addresses["gateway_1"], addresses["gateway_2"]), databases)


def _environment(
    servers: Servers, links: dict[str, Proxy], databases: dict[str, str], behind: dict[str, str], data_dir: Path
) -> dict[str, str]:
    postgres = links["postgres"].in_front_of
    broker = links["rabbitmq"].in_front_of(behind["rabbitmq"]) if servers.rabbitmq else postgres(databases["broker"])
    shared = {
        **SETTINGS,
        "CARILLON_BROKER_URL": broker,
        "CARILLON_REDIS_URL": links["redis"].in_front_of(behind["redis"]),
        "CARILLON_SMTP_URL": f"smtp://127.0.0.1:{links['provider'].port}?tls=none",
        "CARILLON_FCM_URL": links["push_provider"].in_front_of(behind["push_provider"]),
        "CARILLON_USERS_URL": links["users"].in_front_of(behind["users"]),
        "CARILLON_TEMPLATES_URL": links["templates"].in_front_of(behind["templates"]),
        "CARILLON_PUBLIC_URL": behind["users"],
        "CARILLON_SIGNING_KEY_FILE": str(data_dir / "signing_key.pem"),
        "CARILLON_ENCRYPTION_KEY_FILE": str(data_dir / "encryption.key"),
    }
    for name in SERVICES:
        shared[f"CARILLON_{name.upper()}_DATABASE_URL"] = postgres(databases[name])
        shared[f"CARILLON_{name.upper()}_TOKEN_FILE"] = str(data_dir / "tokens" / f"{name}.token")
    return shared


def _end_all(made: World) -> None:
    """Nobody waits for stragglers: what is to be seen has been seen."""
    for process in made.platform.processes.values():
        end(process, sign=signal.SIGKILL)


def now() -> float:
    """The clock of everything here: that of the receipts."""
    return time.time()
