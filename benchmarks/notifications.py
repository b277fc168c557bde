"""Acceptance while nobody delivers: how many a second, and what a notification costs in CPU."""

import asyncio
import itertools
import json
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from urllib.parse import urlencode
from uuid import uuid4

import uvloop

from benchmarks import load
from benchmarks.cpu import family_of, seconds_of
from benchmarks.platforms import platform, prepared
from benchmarks.smtp_sink import taken
from tests.support.platform import Platform
from tests.support.processes import end

WARM_UP = 500
STEADY = 1_000


def posts(found: Platform, code: str, people: list[str], count: int) -> Iterator[bytes]:
    """That many requests, each with a `request_id` of its own."""
    host, token, run = found.gateway.partition("://")[2], found.credentials["application_token"], uuid4().hex
    for number, person in zip(range(count), itertools.cycle(people), strict=False):
        body = {
            "notification_type": "email",
            "user_id": person,
            "template_code": code,
            "variables": {"name": "Ada", "link": "https://example.com/x"},
            "request_id": f"{run}-{number}",
        }
        yield load.request("POST", "/api/v1/notifications", host=host, token=token, body=json.dumps(body).encode())


async def post_all(found: Platform, requests: Iterator[bytes], *, connections: int) -> load.Result:
    host, _, port = found.gateway.partition("://")[2].partition(":")
    result = await load.run(host, int(port), requests, connections=connections)
    assert set(result.statuses) == {202}, result.statuses
    return result


async def await_sink(port: int, count: int) -> None:
    async with asyncio.timeout(300):
        while await taken(port) < count:  # noqa: ASYNC110 - another process counts
            await asyncio.sleep(0.02)


async def await_reports(found: Platform, *, since: datetime) -> None:
    """Until nothing accepted `since` is pending any more: what was delivered has been told. Asked of those alone, not
    of all that are kept from before: the asking is in what is measured.
    """
    wanted = urlencode({"status": "pending", "created_from": since.isoformat(), "limit": 1})
    request = urllib.request.Request(
        f"{found.gateway}/api/v1/notifications?{wanted}",
        headers={"Authorization": f"Bearer {found.credentials['application_token']}"},
    )

    def pending() -> bool:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return bool(json.loads(answer.read())["data"])

    async with asyncio.timeout(120):
        while await asyncio.to_thread(pending):  # noqa: ASYNC110 - another process tells
            await asyncio.sleep(0.1)


def measure_accepting(count: int) -> list[tuple[str, str]]:
    """(figure, value) pairs: what the gateway accepts while nobody delivers; its relay still hands on to RabbitMQ."""
    with platform("rabbitmq") as (found, _):
        return uvloop.run(_measure_accepting(found, count))


async def _measure_accepting(found: Platform, count: int) -> list[tuple[str, str]]:
    code, people, _ = prepared(found, 200)
    await post_all(found, posts(found, code, people, WARM_UP), connections=16)
    for worker in ("email_worker", "push_worker"):
        end(found.processes.pop(worker))
    pids = family_of(found.processes["gateway"].pid)
    before = seconds_of(pids)
    result = await post_all(found, list_first(posts(found, code, people, count)), connections=64)
    spent = seconds_of(pids) - before
    steady = await _steadily(found, list(posts(found, code, people, count)))
    return [
        (
            "accepted, workers stopped",
            f"{result.rate:,.0f}/s, p50 {result.percentile(0.5):.1f} ms, p99 {result.percentile(0.99):.1f} ms",
        ),
        ("CPU a notification, gateway until the last 202", f"{1e6 * spent / count:,.0f} µs"),
        (
            f"at {STEADY:,} a second, open loop",
            f"p50 {steady.percentile(0.5):.1f} ms, p99 {steady.percentile(0.99):.1f} ms",
        ),
    ]


async def _steadily(found: Platform, requests: list[bytes]) -> load.Result:
    """What arrives whether or not the last was answered."""
    host, _, port = found.gateway.partition("://")[2].partition(":")
    result = await asyncio.to_thread(load.opened, host, int(port), requests, rate=STEADY, connections=64)
    assert set(result.statuses) == {202}, result.statuses
    return result


def list_first(requests: Iterator[bytes]) -> Iterator[bytes]:
    """Make every request before the clock starts."""
    return iter(list(requests))
