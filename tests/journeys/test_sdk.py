"""What docs/howto/sdk.md shows does what it says, block by block, on a running platform; and both forms by hand."""

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from carillon.sdk import AsyncCarillon, Carillon, Conflict
from tests.documents.reading import document
from tests.fakes.smtp import FakeSmtp
from tests.support.platform import Platform, clean_environment

WHAT = {"name": "Ada", "link": "https://example.com/x"}
SAID = (
    r"^delivered \S",
    r"^3 accepted, 0 refused$",
    r"^On its way, Ada\n\d+ templates, \d+ causes of death$",
    r"^template_not_found \S{8,}\n\['?.*(variables|priority).*\]$",
)
BLOCKS = document("docs/howto/sdk.md").blocks("python")


def test_every_block_says_something() -> None:
    assert len(BLOCKS) == len(SAID)


@pytest.fixture(scope="module")
def token(one_process: Platform) -> str:
    """The administrator's: an application's may not find people by their address."""
    known = one_process.credentials
    body = json.dumps({"email": known["admin_email"], "password": known["admin_password"]}).encode()
    login = urllib.request.Request(
        f"{one_process.gateway}/api/v1/auth/login", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(login, timeout=30) as answer:
        granted: str = json.load(answer)["data"]["access_token"]
    return granted


@pytest.mark.parametrize(("number", "said"), list(enumerate(SAID)))
def test_what_the_document_shows_runs(one_process: Platform, token: str, number: int, said: str) -> None:
    known = one_process.credentials
    environment = clean_environment(
        CARILLON_URL=one_process.gateway,
        CARILLON_TOKEN=token,
        ADMIN_EMAIL=known["admin_email"],
        ADMIN_PASSWORD=known["admin_password"],
    )
    told = subprocess.run(
        [sys.executable, "-c", BLOCKS[number].text], env=environment, capture_output=True, text=True, timeout=100
    )
    assert told.returncode == 0, told.stderr
    assert re.search(said, told.stdout.strip(), re.MULTILINE), told.stdout


async def test_what_one_form_sends_the_other_reads(one_process: Platform, token: str, smtp: FakeSmtp) -> None:
    address = f"sdk-{uuid4().hex[:8]}@example.com"

    def send() -> tuple[str, str]:
        with Carillon(one_process.gateway, token=token) as carillon:
            person = carillon.contact(address)
            sent = carillon.notify(user_id=person, template="welcome", variables=WHAT)
            again = carillon.notify(user_id=person, template="welcome", variables=WHAT, request_id=sent.request_id)
            other = {**WHAT, "name": "Bob"}
            with pytest.raises(Conflict):
                carillon.notify(user_id=person, template="welcome", variables=other, request_id=sent.request_id)
            assert again.notification_id == sent.notification_id
            return str(person), sent.request_id

    person, request_id = await asyncio.to_thread(send)

    async with AsyncCarillon(one_process.gateway, token=token) as carillon:
        found = await carillon.by_request(request_id)
        ended = await carillon.wait_until_ended(found.notification_id, seconds=60)
        steps = (await carillon.timeline(found.notification_id)).steps
        listed = await carillon.notifications(user_id=person)
    assert (ended.status, steps[0].kind, listed.meta.total) == ("delivered", "accepted", 1)
    assert listed.items == [ended]
    assert len(smtp.to(address)) == 1


async def test_an_operator_begins_a_broadcast_and_asks_for_figures(one_process: Platform) -> None:
    known = one_process.credentials
    async with AsyncCarillon(
        one_process.gateway, email=known["admin_email"], password=known["admin_password"]
    ) as carillon:
        person = await carillon.contact(f"sdk-{uuid4().hex[:8]}@example.com")
        audience = {"user_ids": [person]}
        assert await carillon.count_audience(audience) == 1
        begun = await carillon.broadcast(audience=audience, template="welcome", variables=WHAT, start=False)
        assert (begun.status, begun.total) == ("paused", 1)
        await carillon.resume_broadcast(begun.broadcast_id)
        assert (await carillon.broadcast_progress(begun.broadcast_id)).broadcast_id == begun.broadcast_id
        assert (await carillon.change_preferences(person, push=False)).push is False
        assert (await carillon.preferences(person)).email is True
        assert (await carillon.user(person)).user_id == person
        device = await carillon.add_device(person, platform="fcm", token=f"fcm-{uuid4().hex}")
        assert device.platform == "fcm"
        assert await carillon.devices(person) == [device]
        assert (await carillon.remove_device(person, device.device_id)).token == device.token
        assert await carillon.devices(person) == []
        assert (await carillon.stats()).queues
        assert (await carillon.replay(cause="no_such_cause", dry_run=True)).matched == 0
        forecast = await carillon.dry_run(user_id=person, template="welcome", variables=WHAT)
        assert forecast.outcome == "sent"
        later = await carillon.notify(
            user_id=person, template="welcome", variables=WHAT, send_at=datetime.now(UTC) + timedelta(days=7)
        )
        assert (await carillon.cancel(later.notification_id)).status == "cancelled"
