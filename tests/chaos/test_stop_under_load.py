"""SIGTERM in the middle of traffic: requests in hand are answered, nothing is lost, nothing comes twice."""

import asyncio
import signal
from collections import Counter
from uuid import uuid4

import aiohttp
import pytest

from tests.fakes.smtp import FakeSmtp
from tests.support.client import Answer, Client, connected
from tests.support.platform import Platform
from tests.support.waiting import eventually

COUNT = 300
pytestmark = pytest.mark.timeout(240)


async def until_accepted(client: Client, user_id: str, code: str) -> tuple[Answer, int]:
    """Post with one `request_id` until there is an answer; with the number of times there was none."""
    request_id, unanswered = uuid4().hex, 0
    while True:
        try:
            return await client.notify(user_id, code, request_id=request_id), unanswered
        except aiohttp.ClientConnectionError:
            unanswered += 1
            await asyncio.sleep(0.1)


async def test_sigterm_drops_no_request_and_loses_or_doubles_no_mail(platform: Platform, smtp: FakeSmtp) -> None:
    async with connected(platform) as client:
        code = await client.publish()
        users = [await client.register() for _ in range(10)]
        posts = [asyncio.create_task(until_accepted(client, users[n % 10]["user_id"], code)) for n in range(COUNT)]
        await eventually(lambda: len(smtp.mails) >= COUNT // 10, within=30, every=0.005)

        platform.processes["up"].send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(platform.processes["up"].wait, 40) == 0
        await asyncio.to_thread(platform.start, "up")

        answers = await asyncio.wait_for(asyncio.gather(*posts), 60)
        assert {answer.status for answer, _ in answers} <= {200, 202}
        for answer, _ in answers:
            assert (await client.settled(answer.data["notification_id"], within=60))["status"] == "delivered"
    assert len({answer.data["notification_id"] for answer, _ in answers}) == COUNT
    received = Counter(mail.message["Message-ID"] for mail in smtp.mails)
    assert (len(received), set(received.values())) == (COUNT, {1})
