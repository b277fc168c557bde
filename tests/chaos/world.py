"""A whole Carillon in processes of its own, two of each that may be two, with a proxy of ours on every line."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import asyncpg

from tests.chaos.judge import Receipt
from tests.support.platform import CARILLON, QUICK, Platform, clean_environment
from tests.support.processes import end, free_port, spawn
from tests.support.proxy import Proxy, proxy_to
from tests.support.servers import PostgresServer, RabbitServer, RedisServer
from tests.support.simulator import SIMULATE, Simulator

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
}
SERVICES = ("users", "templates", "gateway", "email_worker", "push_worker")
HARD, SOFT = "hard-*@example.com", "soft-*@example.com"
RULES = (
    {"do": "refuse", "code": 550, "text": "5.1.1 No such mailbox", "to": HARD},
    {"do": "refuse", "code": 451, "text": "4.2.0 Try again later", "to": SOFT, "share": 0.4},
    {"do": "delay", "seconds": 0.03},
)
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


@dataclass(frozen=True, slots=True)
class Servers:
    """What is not ours; without RabbitMQ the queue is PostgreSQL's."""

    postgres: PostgresServer
    redis: RedisServer
    rabbitmq: RabbitServer | None = None


@dataclass
class World:
    """`links` are the proxies by the name of what stands behind them."""

    platform: Platform
    servers: Servers
    provider: Simulator
    links: dict[str, Proxy]
    gateways: tuple[str, str]
    databases: dict[str, str]
    receipts: dict[str, Receipt] = field(default_factory=dict)

    def spawn(self, name: str) -> None:
        """Start a process (again) without waiting for it: its neighbours may be away."""
        command, environment = self.platform.environments[name]
        self.platform.processes[name] = spawn(command, log=self.platform.log, env=environment)

    async def until_ready(self, name: str, *, within: float = 60) -> None:
        await asyncio.to_thread(self.platform.await_ready, name, within=within)

    async def collect(self) -> None:
        """Note what the provider has taken up to now: it forgets when it dies."""
        page = 1
        while entries := await asyncio.to_thread(self.provider.received, f"?limit=1000&page={page}"):
            for entry in entries:
                if entry["taken"]:
                    named = str(entry["message_id"]).strip("<>").partition("@")[0]
                    self.receipts[entry["id"]] = Receipt(named, _seconds(entry["received_at"]))
            page += 1

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
async def world(servers: Servers, folder: Path) -> AsyncIterator[World]:
    """Everything runs and answers; all of it is gone afterwards."""
    async with contextlib.AsyncExitStack() as stack:
        provider = _provider(folder)
        stack.callback(lambda: end(provider.process, sign=signal.SIGKILL))
        await asyncio.to_thread(provider.start)
        made = await _wired(servers, provider, folder, stack)
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


def _provider(folder: Path) -> Simulator:
    rules = folder / "rules.jsonl"
    rules.write_text("".join(json.dumps(rule) + "\n" for rule in RULES))
    ports = ["--port", str(free_port()), "--control-port", str(free_port())]
    return Simulator(
        [*SIMULATE, "smtp", *ports, "--rules", str(rules), "--keep", "500000"], folder / "simulate-smtp.log"
    )


async def _wired(servers: Servers, provider: Simulator, folder: Path, stack: contextlib.AsyncExitStack) -> World:
    addresses = {name: f"http://127.0.0.1:{free_port()}" for name in PROCESSES}
    behind = {
        "users": addresses["users"],
        "templates": addresses["templates"],
        "postgres": servers.postgres.dsn(),
        "redis": servers.redis.url,
        "provider": f"smtp://127.0.0.1:{provider.port}",
        **({"rabbitmq": servers.rabbitmq.url} if servers.rabbitmq else {}),
    }
    links = {name: await stack.enter_async_context(proxy_to(url)) for name, url in behind.items()}
    databases = {name: await servers.postgres.create_database() for name in (*SERVICES, "broker")}
    platform = Platform(
        folder / "data", addresses["gateway_1"], addresses["users"], addresses["templates"], folder / "apart.log"
    )
    shared = _environment(servers, links, databases, behind, platform.data_dir)
    for name, service in PROCESSES.items():
        own = {f"CARILLON_{service.upper()}_PORT": addresses[name].rpartition(":")[2], "READY_URL": addresses[name]}
        platform.environments[name] = ([*CARILLON, "run", service], clean_environment(**shared, **own))
    return World(platform, servers, provider, links, (addresses["gateway_1"], addresses["gateway_2"]), databases)


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


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def now() -> float:
    """The clock of everything here: that of the receipts."""
    return time.time()
