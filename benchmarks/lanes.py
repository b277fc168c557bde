"""One-time codes while a broadcast runs: how long a mail of the high lane takes from when its request was due."""

import asyncio
import itertools
import json
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import uvloop

from benchmarks import crowds, load
from benchmarks.notifications import WARM_UP, await_sink, post_all, posts
from benchmarks.platforms import platform, post, prepared
from benchmarks.smtp_sink import TIMED, counted, times
from tests.support.platform import Platform
from tests.support.waiting import eventually

Figures = list[tuple[str, str]]
RATE = 20.0
"""Codes a second, in an open loop."""
ALONE_SECONDS = 20
_SLOWEST = 250
"""Mails a second of a broadcast below which this ends with an error."""


@dataclass
class Scene:
    """Where everything is, how many the broadcast is for (their attribute is `run`), and who gets codes, one each:
    name and id."""

    found: Platform
    sink: int
    template: str
    admin: str
    run: str
    crowd: int
    people: Iterator[tuple[str, UUID]]


@dataclass
class Course:
    """How far the broadcast has come; moments of `time.perf_counter`."""

    begun: float = 0.0
    enqueued: float = 0.0
    delivered: float = 0.0
    over: threading.Event = field(default_factory=threading.Event)


@dataclass
class Codes:
    """What each took until the sink had it, by when its request was due, and how the gateway answered."""

    taken: dict[float, float]
    answers: load.Result

    def told(self, since: float, until: float) -> str:
        """Of those that were due in this time."""
        found = [took for due, took in self.taken.items() if since <= due < until]
        if not found:
            return "none was due"
        p50, p99 = (load.percentile(found, share) for share in (0.5, 0.99))
        return f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, slowest {1000 * max(found):.0f} ms of {len(found):,}"


def measure(kind: str, crowd: int) -> Figures:
    """(figure, value) pairs for one kind of platform: codes alone, then during a broadcast to so many."""
    with platform(kind) as (found, sink):
        return uvloop.run(_measure(found, sink, crowd))


async def _measure(found: Platform, sink: int, crowd: int) -> Figures:
    template, some, admin = prepared(found, 50)
    await post_all(found, posts(found, template, some, WARM_UP), connections=16)
    await await_sink(sink, WARM_UP)
    run, most = uuid4().hex[:8], int(RATE * (ALONE_SECONDS + 60 + crowd / _SLOWEST))
    await crowds.add(found, [f"{run}-{n}" for n in range(crowd)], domain="example.com", attributes={"crowd": run})
    names = [f"{run}-{n}" for n in range(most)]
    people = zip(names, await crowds.add(found, names, domain=TIMED, attributes={}), strict=True)
    scene, course = Scene(found, sink, template, admin, run, crowd, people), Course()
    alone = await _codes(scene, range(int(RATE * ALONE_SECONDS)))
    during, _ = await asyncio.gather(_codes(scene, _until(course.over)), _broadcast(scene, course))
    return _figures(crowd, alone, during, course)


def _figures(crowd: int, alone: Codes, during: Codes, course: Course) -> Figures:
    return [
        ("codes alone, request due to SMTP", alone.told(0, course.begun)),
        ("while a broadcast is enqueued", during.told(course.begun, course.enqueued)),
        ("after that, until it is delivered", during.told(course.enqueued, course.delivered)),
        ("broadcast enqueued", f"{crowd / (course.enqueued - course.begun):,.0f}/s"),
        ("broadcast delivered", f"{crowd / (course.delivered - course.begun):,.0f}/s"),
        ("until the 202 alone: p50, p99", _both(alone.answers)),
        ("until the 202 during the broadcast: p50, p99", _both(during.answers)),
    ]


def _both(answers: load.Result) -> str:
    return f"{answers.percentile(0.5):.0f} ms, {answers.percentile(0.99):.0f} ms"


def _until(over: threading.Event) -> Iterator[int]:
    return itertools.takewhile(lambda _: not over.is_set(), itertools.count())


async def _codes(scene: Scene, numbers: Iterable[int]) -> Codes:
    """Post one for each number in an open loop, and wait until the sink has them all."""
    host, _, port = scene.found.gateway.partition("://")[2].partition(":")
    names: list[str] = []
    requests = _requests(scene, numbers, names)
    result = await asyncio.to_thread(load.opened, host, int(port), requests, rate=RATE, connections=16)
    assert set(result.statuses) == {202}, result.statuses

    async def all_there() -> dict[str, float]:
        there = await times(scene.sink)
        return there if there.keys() >= set(names) else {}

    arrived = await eventually(all_there, within=60, every=0.1, says="every code reaches the sink")
    return Codes({due: arrived[name] - due for due, name in zip(result.due, names, strict=True)}, result)


def _requests(scene: Scene, numbers: Iterable[int], names: list[str]) -> Iterator[bytes]:
    """`names` are told whom they were for."""
    host, token = scene.found.gateway.partition("://")[2], scene.found.credentials["application_token"]
    for _, (name, user_id) in zip(numbers, scene.people, strict=False):
        names.append(name)
        body = {**_body(scene, name, priority=10), "user_id": str(user_id)}
        yield load.request("POST", "/api/v1/notifications", host=host, token=token, body=json.dumps(body).encode())


def _body(scene: Scene, name: str, *, priority: int) -> dict[str, Any]:
    return {
        "notification_type": "email",
        "template_code": scene.template,
        "variables": {"name": "Ada", "link": "https://example.com/x"},
        "request_id": f"{scene.run}-{name}",
        "priority": priority,
    }


async def _broadcast(scene: Scene, course: Course) -> None:
    """Begin it, and note when the last of it is enqueued and when the last is delivered."""
    address = f"{scene.found.gateway}/api/v1/broadcasts"
    body = {**_body(scene, "broadcast", priority=2), "audience": {"filter": {"attributes": {"crowd": scene.run}}}}
    had = await _of_the_crowd(scene.sink)
    within = 60 + scene.crowd / _SLOWEST
    try:
        course.begun = time.perf_counter()
        begun = await asyncio.to_thread(post, address, scene.admin, body)
        finished = partial(asyncio.to_thread, _finished, f"{address}/{begun['broadcast_id']}", scene.admin)
        await eventually(finished, within=within, every=0.1, says="everybody is enqueued")
        course.enqueued = time.perf_counter()

        async def delivered() -> bool:
            return await _of_the_crowd(scene.sink) - had >= scene.crowd

        await eventually(delivered, within=within, every=0.1, says="the broadcast is delivered")
        course.delivered = time.perf_counter()
    finally:
        course.over.set()


async def _of_the_crowd(sink: int) -> int:
    """Mails that were not codes."""
    total, timed = await counted(sink)
    return total - timed


def _finished(address: str, token: str) -> bool:
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return bool(json.loads(answer.read())["data"]["status"] == "finished")
