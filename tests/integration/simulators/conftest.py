"""The simulators on a real PostgreSQL, over real SMTP and HTTP."""

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import aiohttp
import aiosmtplib
import pytest

from carillon.kit.service import bind
from carillon.simulators.app import build, ensure_service_account, migrate
from carillon.simulators.settings import SimulatorsSettings
from tests.support.http import serving
from tests.support.servers import PostgresServer


@dataclass(frozen=True)
class Simulators:
    """Where they are reached."""

    url: str
    smtp_port: int
    account: dict[str, Any]
    session: aiohttp.ClientSession

    async def mails(self, query: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self.get(f"/mailbox/messages{query}")
        return found

    async def get(self, path: str) -> Any:
        async with self.session.get(self.url + path) as answer:
            said = await answer.json()
            assert answer.status == 200, said
            return said["data"]

    async def send(self, mail: EmailMessage | bytes, *to: str, sender: str = "app@example.com") -> str:
        """Hand a mail in over SMTP; the server's last words."""
        raw = mail if isinstance(mail, bytes) else mail.as_bytes()
        client = aiosmtplib.SMTP(hostname="127.0.0.1", port=self.smtp_port, use_tls=False, start_tls=False, timeout=20)
        async with client:
            refused, words = await client.sendmail(sender, list(to), raw, mail_options=["SMTPUTF8"])
            assert not refused
            return words


@contextlib.asynccontextmanager
async def simulators(settings: SimulatorsSettings) -> AsyncIterator[Simulators]:
    """The whole service, its foreign API led to a free port of this process."""
    listening = bind("127.0.0.1", 0)
    async with (
        build(settings, smtp_socket=listening).open() as running,
        serving(running.app) as url,
        aiohttp.ClientSession() as session,
    ):
        account = json.loads(settings.simulated_account_file.read_text())
        yield Simulators(url, listening.getsockname()[1], account, session)


@pytest.fixture(scope="session")
def pattern(postgres_server: PostgresServer) -> Iterator[str]:
    with postgres_server.pattern(
        lambda dsn: migrate(SimulatorsSettings(database_url=dsn, simulated_account_file=Path("unused")))
    ) as dsn:
        yield dsn


@pytest.fixture
async def database(postgres_server: PostgresServer, pattern: str) -> AsyncIterator[str]:
    async with postgres_server.database(copy_of=pattern) as dsn:
        yield dsn


@pytest.fixture
def settings(database: str, tmp_path: Path) -> SimulatorsSettings:
    settings = SimulatorsSettings(database_url=database, simulated_account_file=tmp_path / "fcm.json")
    ensure_service_account(settings.simulated_account_file, "http://127.0.0.1:8000")
    return settings


@pytest.fixture
async def running(settings: SimulatorsSettings) -> AsyncIterator[Simulators]:
    async with simulators(settings) as running:
        yield running


def mail(subject: str = "Hello Ada", text: str = "See https://example.com/x", html: str | None = None) -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "App <app@example.com>", "Ada <ada@example.com>", subject
    made.set_content(text)
    if html is not None:
        made.add_alternative(html, subtype="html")
    return made
