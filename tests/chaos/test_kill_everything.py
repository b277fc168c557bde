"""kill -9 of `carillon up` and its PostgreSQL in the middle of deliveries: what was accepted arrives all the same."""

import asyncio
import contextlib
import functools
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.fakes.smtp import FakeSmtp
from tests.support.client import Client, connected
from tests.support.platform import Platform
from tests.support.waiting import eventually

COUNT = 500
RECOVERY_SECONDS = 60
SEND_SLOTS = 10
pytestmark = pytest.mark.timeout(400)


def has_received(smtp: FakeSmtp, count: int) -> bool:
    return len(smtp.mails) >= count


def children_of(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def postmaster_of(platform: Platform) -> int:
    (postmaster,) = [
        child
        for child in children_of(platform.processes["up"].pid)
        if Path(f"/proc/{child}/comm").read_text().strip() == "postgres"
    ]
    return postmaster


async def accept(client: Client, count: int) -> dict[str, str]:
    """Notification ids by recipient, all answered with 202."""
    code = await client.publish()
    gate = asyncio.Semaphore(50)

    async def one(number: int) -> tuple[str, str]:
        async with gate:
            url, body = f"{client.platform.users}/api/v1/contacts", {"email": f"p{number}-{code}@example.com"}
            user = await client.call("POST", url, token=client.admin, json=body)
            accepted = await client.notify(user.data["user_id"], code)
        assert accepted.status == 202, accepted.body
        return user.data["email"], accepted.data["notification_id"]

    return dict(await asyncio.gather(*(one(number) for number in range(count))))


@pytest.mark.parametrize("outliving_backend", [False, True], ids=["", "a backend outlives its postmaster"])
async def test_all_that_was_accepted_is_delivered_after_kill_9(
    platform: Platform, smtp: FakeSmtp, *, outliving_backend: bool
) -> None:
    async with connected(platform) as client:
        accepted = await accept(client, COUNT)
    for part in (1, 2, 3):
        await eventually(functools.partial(has_received, smtp, part * COUNT // 5), within=60, every=0.005)
        await asyncio.to_thread(kill_all, platform, outliving_backend=outliving_backend)
        await asyncio.to_thread(platform.start, "up", within=RECOVERY_SECONDS)

    async with connected(platform) as client:
        for notification_id in accepted.values():
            assert (await client.settled(notification_id, within=RECOVERY_SECONDS))["status"] == "delivered"
    received = Counter(mail.recipient for mail in smtp.mails)
    assert set(accepted) <= set(received)
    duplicates = sum(received[recipient] - 1 for recipient in accepted)
    sys.stdout.write(f"{COUNT} accepted, {COUNT} delivered, {duplicates} duplicates after three kills\n")
    assert duplicates <= 3 * SEND_SLOTS, "more came twice than was in flight at the kills"


def kill_all(platform: Platform, *, outliving_backend: bool) -> None:
    """End the platform and its PostgreSQL at once; a stopped backend cannot notice that its postmaster is gone."""
    postmaster = postmaster_of(platform)
    if outliving_backend:
        os.kill(children_of(postmaster)[-1], signal.SIGSTOP)
    os.kill(postmaster, signal.SIGKILL)
    platform.kill("up")
