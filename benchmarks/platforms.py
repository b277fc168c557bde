"""The platforms that are measured: as users run them, with limits off and mail going to the sink."""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fakes.fcm import fake_fcm, write_service_account
from tests.support.platform import CARILLON, Platform, all_in_one, five_processes
from tests.support.processes import end, free_port, spawn
from tests.support.servers import postgres_server, rabbitmq_server


@contextlib.contextmanager
def sink(folder: Path) -> Iterator[int]:
    """Run the sink; yields its port."""
    port = free_port()
    process = spawn([sys.executable, "-m", "benchmarks.smtp_sink", str(port)], log=folder / "sink.log")
    try:
        yield port
    finally:
        end(process)


@contextlib.contextmanager
def platform(kind: str, *, staged: bool = False) -> Iterator[tuple[Platform, int]]:
    """`embedded` is one process on its own PostgreSQL; `rabbitmq` is five. Yields it and the sink's port.

    `staged`: they are looked at while they work, see `stages.py`.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="carillon-bench-")))
        folder.chmod(0o755)
        port = stack.enter_context(sink(folder))
        fcm = stack.enter_context(fake_fcm())
        write_service_account(folder / "account.json", f"{fcm.url}/token")
        environment = {
            "CARILLON_SMTP_URL": f"smtp://127.0.0.1:{port}?tls=none",
            "CARILLON_FCM_URL": fcm.url,
            "CARILLON_SERVICE_ACCOUNT_FILE": str(folder / "account.json"),
            "CARILLON_LOGINS_PER_MINUTE": "0",
            "CARILLON_REGISTRATIONS_PER_MINUTE": "0",
            "CARILLON_LOG_LEVEL": "warning",
        }
        command = [sys.executable, "-m", "benchmarks.stages", str(folder)] if staged else CARILLON
        if kind == "embedded":
            yield stack.enter_context(all_in_one(folder, environment, command=command)), port
        else:
            postgres = stack.enter_context(postgres_server(settings={}))
            rabbitmq = stack.enter_context(rabbitmq_server())
            apart = five_processes(folder, environment, postgres, rabbitmq, command=command)
            yield stack.enter_context(apart), port


def post(url: str, token: str, body: dict[str, Any] | None = None) -> Any:
    """The `data` of a POST, outside anything measured."""
    request = urllib.request.Request(
        url,
        method="POST",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())["data"]


def prepared(found: Platform, users: int) -> tuple[str, list[str], str]:
    """A published template, that many users to be notified, and the administrator's token."""
    known = found.credentials
    login = {"email": known["admin_email"], "password": known["admin_password"]}
    admin: str = post(f"{found.users}/api/v1/auth/login", "", login)["access_token"]
    code = f"bench-{int(time.time())}"
    template = {
        "code": code,
        "channel": "email",
        "language": "en",
        "subject": "Hello {{ name }}",
        "body_text": "See {{ link }}, {{ name }}.",
        "body_html": "<p>Hello {{ name }}, <a href='{{ link }}'>look here</a>.</p>",
    }
    post(f"{found.templates}/api/v1/templates", admin, template)
    post(f"{found.templates}/api/v1/templates/{code}/versions/1/publish", admin)
    people = [
        post(f"{found.users}/api/v1/contacts", admin, {"email": f"bench{n}@example.com"})["user_id"]
        for n in range(users)
    ]
    return code, people, admin


def machine() -> str:
    """One line on what was measured where."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        "unknown",
    )
    return f"commit {commit.strip() or 'unknown'}, Python {sys.version.split()[0]}, {model}"
