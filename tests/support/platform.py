"""A whole Carillon under test, as processes of its own: all in one, or five services on RabbitMQ."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.fcm import FakeFcm, write_service_account
from tests.fakes.smtp import FakeSmtp
from tests.support.processes import end, free_port, spawn
from tests.support.servers import PostgresServer, RabbitServer

CARILLON = [sys.executable, "-m", "carillon"]
SERVICES = ("users", "templates", "gateway", "email_worker", "push_worker")
QUICK = {
    "CARILLON_RETRY_DELAYS": "0.2,0.5,1,2",
    "CARILLON_RETRY_BASE_SECONDS": "0.2",
    "CARILLON_REGISTRATIONS_PER_MINUTE": "0",
    "CARILLON_LOGINS_PER_MINUTE": "0",
    "CARILLON_FAILED_LOGINS_PER_MINUTE": "0",
    "CARILLON_ACCOUNT_MAILS_PER_MINUTE": "0",
    "CARILLON_LOG_LEVEL": "warning",
}


def clean_environment(**ours: str) -> dict[str, str]:
    """The environment without anybody's CARILLON_* but ours."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CARILLON_")}
    return {**inherited, **ours}


@dataclass
class Platform:
    """Where the services answer, and the processes that do."""

    data_dir: Path
    gateway: str
    users: str
    templates: str
    log: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    environments: dict[str, tuple[list[str], dict[str, str]]] = field(default_factory=dict)

    @property
    def credentials(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.data_dir / "credentials.json").read_text())
        return found

    def start(self, *names: str, within: float = 60) -> None:
        """Start processes (again), at once, and wait until each is ready."""
        for name in names:
            command, environment = self.environments[name]
            self.processes[name] = spawn(command, log=self.log, env=environment)
        for name in names:
            self.await_ready(name, within=within)

    def await_ready(self, name: str, *, within: float) -> None:
        url = getattr(self, name, None) or self.environments[name][1]["READY_URL"]
        deadline = time.monotonic() + within
        while not _answers(url + "/ready"):
            process = self.processes[name]
            assert process.poll() is None, f"{name} ended with {process.returncode}:\n{self.tail()}"
            assert time.monotonic() < deadline, f"{name} is not ready within {within} s:\n{self.tail()}"
            time.sleep(0.05)

    def kill(self, name: str) -> None:
        """End a process with SIGKILL: nothing is said goodbye to."""
        end(self.processes[name], sign=signal.SIGKILL)

    def stop(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            end(process, within=40)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-6000:]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextlib.contextmanager
def all_in_one(
    folder: Path, environment: Mapping[str, str], *, command: Sequence[str] = CARILLON
) -> Iterator[Platform]:
    """`carillon up` on a free port, on the PostgreSQL broker."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    platform = Platform(folder / "data", url, url, url, folder / "up.log")
    up = [*command, "up", "--port", str(port), "--data-dir", str(platform.data_dir)]
    platform.environments["up"] = (up, clean_environment(**environment, READY_URL=url))
    try:
        platform.start("up")
        yield platform
    finally:
        platform.stop()


@contextlib.contextmanager
def five_processes(
    folder: Path,
    environment: Mapping[str, str],
    postgres: PostgresServer,
    rabbitmq: RabbitServer,
    *,
    command: Sequence[str] = CARILLON,
) -> Iterator[Platform]:
    """Five services with a database each, on RabbitMQ."""
    urls = {name: f"http://127.0.0.1:{free_port()}" for name in SERVICES}
    platform = Platform(folder / "data", urls["gateway"], urls["users"], urls["templates"], folder / "apart.log")
    shared = apart_environment(platform, urls, environment, postgres, rabbitmq)
    subprocess.run(
        [*CARILLON, "migrate", "--data-dir", str(platform.data_dir)],
        env=clean_environment(**shared),
        check=True,
        timeout=120,
    )
    for name, url in urls.items():
        own = {f"CARILLON_{name.upper()}_PORT": url.rpartition(":")[2], "READY_URL": url}
        platform.environments[name] = ([*command, "run", name], clean_environment(**shared, **own))
    try:
        platform.start(*SERVICES)
        yield platform
    finally:
        platform.stop()


def apart_environment(
    platform: Platform,
    urls: Mapping[str, str],
    environment: Mapping[str, str],
    postgres: PostgresServer,
    rabbitmq: RabbitServer,
) -> dict[str, str]:
    shared = {
        **environment,
        "CARILLON_BROKER_URL": rabbitmq.virtual_host(),
        "CARILLON_USERS_URL": urls["users"],
        "CARILLON_TEMPLATES_URL": urls["templates"],
        "CARILLON_GATEWAY_URL": urls["gateway"],
        "CARILLON_PUBLIC_URL": urls["users"],
        "CARILLON_SIGNING_KEY_FILE": str(platform.data_dir / "signing_key.pem"),
        "CARILLON_ENCRYPTION_KEY_FILE": str(platform.data_dir / "encryption.key"),
    }
    for name in SERVICES:
        shared[f"CARILLON_{name.upper()}_DATABASE_URL"] = asyncio.run(postgres.create_database())
        shared[f"CARILLON_{name.upper()}_TOKEN_FILE"] = str(platform.data_dir / "tokens" / f"{name}.token")
    return shared


def towards(smtp: FakeSmtp, fcm: FakeFcm, folder: Path) -> dict[str, str]:
    """The environment that sends mail and pushes to these."""
    write_service_account(folder / "account.json", f"{fcm.url}/token")
    return {
        **QUICK,
        "CARILLON_SMTP_URL": f"smtp://127.0.0.1:{smtp.port}?tls=none",
        "CARILLON_FCM_URL": fcm.url,
        "CARILLON_SERVICE_ACCOUNT_FILE": str(folder / "account.json"),
    }
