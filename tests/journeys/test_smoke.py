"""`carillon smoke` at doors that serve and at doors that do not: each failure is a sentence and exit code 1."""

import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from carillon.smoke.job import Job, smoke
from tests.support.client import Client, connected
from tests.support.platform import CARILLON, Platform, clean_environment
from tests.support.processes import free_port

NOBODY = "01a1d1a0-0000-7000-8000-000000000001"


def job(platform: Platform, **changes: Any) -> Job:
    known: dict[str, Any] = {"url": platform.gateway, "credentials": platform.data_dir / "credentials.json"}
    return Job(**{**known, "seconds": 20, **changes})


async def kept(client: Client) -> int:
    """Of the newest hundred notifications, those that a smoke test asked for."""
    token = client.platform.credentials["application_token"]
    answer = await client.call("GET", f"{client.platform.gateway}/api/v1/notifications?limit=100", token=token)
    assert answer.status == 200
    return sum((one["metadata"] or {}).get("made_by") == "carillon smoke" for one in answer.data)


async def test_it_tells_each_step_and_leaves_no_notification(
    one_process: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    async with connected(one_process) as client:
        before = await kept(client)

        code = await smoke(job(one_process))

        assert code == 0
        assert re.findall(r"^ *\d+ ms  (\w+(?: \w+)?)", capsys.readouterr().out, re.MULTILINE) == [
            "ready",
            "signed in",
            "a notification",
        ]
        assert await kept(client) == before


def test_the_command_sends_one_mail_and_follows_it_to_its_end(one_process: Platform) -> None:
    command = [*CARILLON, "smoke", one_process.gateway, "--send", "--data-dir", str(one_process.data_dir)]

    ran = subprocess.run(command, capture_output=True, text=True, timeout=90, env=clean_environment())

    assert (ran.returncode, ran.stderr) == (0, "")
    assert "ms  delivered\n" in ran.stdout
    assert "its timeline tells all: accepted, " in ran.stdout


@pytest.mark.parametrize("seconds", [0, -5, 1e9, float("nan")])
async def test_a_time_that_means_nothing_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seconds: float
) -> None:
    code = await smoke(Job(url="http://127.0.0.1:1", credentials=tmp_path / "none.json", seconds=seconds))

    assert (code, "more than 0 and at most 3600" in capsys.readouterr().err) == (1, True)


async def test_a_closed_port_is_told_when_the_time_is_up(
    one_process: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    code = await smoke(job(one_process, url=f"http://127.0.0.1:{free_port()}", seconds=0.3))

    assert code == 1
    assert "Nothing answers GET /ready" in capsys.readouterr().err


async def test_a_token_that_is_none_is_told(
    one_process: Platform, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text("not.a.token\n")

    code = await smoke(job(one_process, token_file=tmp_path / "token", user=NOBODY))

    assert code == 1
    said = capsys.readouterr().err
    assert "is refused with 401" in said
    assert "--token-file" in said
    assert "not.a.token" not in said


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"user": NOBODY}, "is refused with 404"),
        ({"template": "nobody_published_this"}, "Name one that is published: --template."),
        ({"credentials": Path("/nowhere/credentials.json")}, "No such file"),
        ({"token_file": Path("/nowhere/token")}, "--user"),
        ({"url": "nonsense"}, "nonsense is no address"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_what_is_named_wrongly_is_told(
    one_process: Platform, changes: dict[str, Any], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await smoke(job(one_process, **changes)) == 1

    assert says in capsys.readouterr().err


async def test_a_door_without_one_of_the_services_is_told(
    processes_apart: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    code = await smoke(job(processes_apart))  # the gateway by itself

    assert code == 1
    said = capsys.readouterr().err
    assert "POST /api/v1/auth/login is refused with 404" in said
    assert "The service that owns this path is not behind this door." in said


class Answering(HTTPServer):
    """Answers every GET with one status and body."""

    status: int
    body: bytes


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Answering)
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        pass


@pytest.fixture
def other() -> Iterator[Answering]:
    with Answering(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (200, b"<h1>It works!</h1>", "not as Carillon answers"),
        (302, b"", "not as Carillon answers"),
        (502, b"<h1>Bad Gateway</h1>", "a service is away"),
        (503, b'{"success":false,"error":"unavailable","message":"Not able to serve: users."}', "serve: users."),
    ],
)
async def test_a_door_of_another_kind_or_one_that_is_not_ready_is_told(
    one_process: Platform, other: Answering, status: int, body: bytes, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other.status, other.body = status, body

    code = await smoke(job(one_process, url=f"http://127.0.0.1:{other.server_port}", seconds=0.3))

    assert code == 1
    assert says in capsys.readouterr().err
