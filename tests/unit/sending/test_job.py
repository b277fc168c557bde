"""One run of `carillon send` against a platform that remembers: what is sent once stays sent, failures are one line."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from aiohttp import web

from carillon.contracts.envelope import Envelope
from carillon.contracts.notifications import Notification, NotificationAccepted
from carillon.kit.embedded_postgres.ports import free_port
from carillon.kit.ids import uuid7
from carillon.sdk.client import Person, SignedIn
from carillon.sending.job import Job, demo, send
from tests.support.peers import Peer, peer


class Platform:
    """Accepts by request_id, refuses another body for the same one, and has delivered everything."""

    def __init__(self) -> None:
        self.bodies: dict[str, dict[str, Any]] = {}
        self.ids: dict[str, UUID] = {}
        self.people: dict[str, UUID] = {}
        self.knows_us = True

    async def sign_in(self, _request: web.Request) -> web.Response:
        if not self.knows_us:
            return refused(401, "unauthenticated")
        return told(SignedIn("crl_x", 300))

    async def contact(self, request: web.Request) -> web.Response:
        email = (await request.json())["email"]
        return told(Person(self.people.setdefault(email, uuid7())))

    async def notify(self, request: web.Request) -> web.Response:
        body = await request.json()
        named = body["request_id"]
        if self.bodies.setdefault(named, body) != body:
            return refused(409, "request_id_reused")
        before = named in self.ids
        notification_id = self.ids.setdefault(named, uuid7())
        accepted = NotificationAccepted(notification_id=notification_id, status="pending", stage=None, request_id=named)
        return told(accepted, 200 if before else 202)

    async def by_request(self, request: web.Request) -> web.Response:
        return self._present(request.match_info["named"])

    async def by_id(self, request: web.Request) -> web.Response:
        return self._present({str(value): name for name, value in self.ids.items()}[request.match_info["id"]])

    def _present(self, named: str) -> web.Response:
        now = datetime.now(UTC)
        return told(
            Notification(
                notification_id=self.ids[named], request_id=named, notification_type="email",
                user_id=UUID(self.bodies[named]["user_id"]), template_code="welcome", priority=5, category=None,
                status="delivered", stage=None, attempts=1, reason=None, error=None, metadata=None,
                correlation_id="one", created_at=now, updated_at=now,
            )
        )  # fmt: skip


def told(data: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(Envelope(data)))


def refused(status: int, code: str) -> web.Response:
    return web.json_response({"success": False, "error": code, "message": "No."}, status=status)


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.fixture
async def there(platform: Platform) -> AsyncIterator[Peer]:
    routes = [
        web.post("/api/v1/auth/login", platform.sign_in),
        web.post("/api/v1/contacts", platform.contact),
        web.post("/api/v1/notifications", platform.notify),
        web.get("/api/v1/notifications/request/{named}", platform.by_request),
        web.get("/api/v1/notifications/{id}", platform.by_id),
    ]
    async with peer(routes) as there:
        yield there


def a_job(folder: Path, url: str, rows: str, link: str | None = None) -> Job:
    credentials, file = folder / "credentials.json", folder / "people.csv"
    credentials.write_text('{"admin_email": "a@example.com", "admin_password": "p", "application_token": "crl_x"}')
    file.write_text(rows)
    return Job(template="welcome", recipients=file, channel="email", link=link, url=url, credentials=credentials)


async def test_another_spelling_of_the_address_sends_nothing_again(
    platform: Platform, there: Peer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "email,link\nada@example.com,\ngrace@example.com,https://example.com/7\n"
    for url in (there.url, f"{there.url}/", there.url.replace("127.0.0.1", "localhost")):
        assert await send(a_job(tmp_path, url, rows)) == 0, capsys.readouterr()
    assert len(platform.ids) == 2
    assert capsys.readouterr().out.count("2 of these had been accepted before; nothing was sent twice.") == 2


async def test_another_link_asked_for_sends_again_to_rows_without_their_own(
    platform: Platform, there: Peer, tmp_path: Path
) -> None:
    rows = "email,link\nada@example.com,\ngrace@example.com,https://example.com/7\n"
    for link in ("https://example.com/may", "https://example.com/june"):
        assert await send(a_job(tmp_path, there.url, rows, link)) == 0
    assert len(platform.ids) == 3


async def test_a_request_id_of_another_persons_stays_refused(platform: Platform, there: Peer, tmp_path: Path) -> None:
    rows = "email\nada@example.com\n"
    assert await send(a_job(tmp_path, there.url, rows)) == 0
    platform.people.clear()
    assert await send(a_job(tmp_path, there.url, rows)) == 1


async def test_where_nothing_answers_one_line_says_so_soon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    job = a_job(tmp_path, url, "email\nada@example.com\n")
    assert await demo(url, job.credentials) == 1
    said = capsys.readouterr()
    assert said.err == (f"carillon: Nothing answers at {url}: start it with make up, or name its address with --url.\n")
    assert "mailbox" not in said.out


async def test_credentials_that_are_refused_are_named_by_their_file(
    platform: Platform, there: Peer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    platform.knows_us = False
    job = a_job(tmp_path, there.url, "email\nada@example.com\n")
    assert await send(job) == 1
    line = capsys.readouterr().err
    assert str(job.credentials) in line
    assert line.count("\n") == 1


async def test_bad_rows_are_counted_beside_the_progress(
    there: Peer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await send(a_job(tmp_path, there.url, "email\nada@example.com\nnobody\n")) == 1
    assert "accepted (1 bad)" in capsys.readouterr().out
