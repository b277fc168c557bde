"""Services run until told to stop; then loops drain while HTTP still answers, and no request is dropped."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import aiohttp
import pytest

from carillon.kit.http.door import Admitting, Enter
from carillon.kit.http.edge import Receive, Scope, Send
from carillon.kit.http.shortcut import Answering
from carillon.kit.http.system import HealthCheck
from carillon.kit.service import Running, Service, bind, serve
from carillon.kit.telemetry.metrics import LOOP_LAG
from tests.support.waiting import eventually


class Diary:
    """What happened, in order, and the gate that holds a slow request."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.gate = asyncio.Event()


def plain(diary: Diary, name: str) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        diary.entries.append(f"{name} asked {scope['path']}")
        if scope["path"].endswith("slow"):
            await asyncio.wait_for(diary.gate.wait(), 10)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    return app


def service(
    diary: Diary,
    name: str,
    *,
    loops: dict[str, Callable[[], Awaitable[None]]] | None = None,
    checks: dict[str, HealthCheck] | None = None,
    shortcuts: Sequence[Answering] = (),
    doors: Sequence[Admitting] = (),
) -> Service:
    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Running]:
        diary.entries.append(f"{name} opened")
        try:
            yield Running(plain(diary, name), loops or {}, checks or {}, shortcuts, doors)
        finally:
            diary.entries.append(f"{name} closed")

    return Service(name, opened, paths=(f"/api/v1/{name}",))


@contextlib.asynccontextmanager
async def running(*services: Service) -> AsyncIterator[tuple[str, asyncio.Task[None]]]:
    listening, ready = bind("127.0.0.1", 0), asyncio.Event()
    task = asyncio.create_task(serve(services, listening, on_ready=ready.set))
    async with asyncio.timeout(30):
        await ready.wait()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", task
        finally:
            if not task.done():
                os.kill(os.getpid(), signal.SIGTERM)
            await task


async def test_a_request_in_hand_is_answered_after_sigterm() -> None:
    diary = Diary()
    async with running(service(diary, "bells")) as (url, task), aiohttp.ClientSession() as session:
        asked = asyncio.create_task(session.get(f"{url}/api/v1/bells/slow"))
        await eventually(lambda: "bells asked /api/v1/bells/slow" in diary.entries)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0)
        diary.gate.set()
        assert (await asked).status == 200
        await task
    assert diary.entries[-1] == "bells closed"


async def test_loops_drain_while_http_still_answers_and_resources_are_open() -> None:
    diary = Diary()
    told: dict[str, Any] = {}

    async def loop() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.5)  # work that takes longer than closing a server that nobody uses
            async with aiohttp.ClientSession() as session, session.get(told["url"] + "/api/v1/bells/last") as answer:
                diary.entries.append(f"drained with {answer.status}")

    async with running(service(diary, "bells", loops={"ring": loop})) as (url, _):
        told["url"] = url
    assert diary.entries.index("drained with 200") < diary.entries.index("bells closed")


async def test_after_sigterm_every_answer_is_the_last_on_its_connection() -> None:
    diary = Diary()
    bells = service(diary, "bells", loops={"ring": slow_to_end(diary)})
    async with running(bells) as (url, task), aiohttp.ClientSession() as session:
        async with session.get(f"{url}/api/v1/bells") as before:
            assert "Connection" not in before.headers
        os.kill(os.getpid(), signal.SIGTERM)
        await eventually(lambda: "draining" in diary.entries)
        async with session.get(f"{url}/api/v1/bells") as after:
            assert (after.status, after.headers["Connection"]) == (200, "close")
        diary.gate.set()
        await task


async def test_after_sigterm_who_comes_by_a_shortcut_or_a_door_is_sent_away_too() -> None:
    diary, held, came = Diary(), asyncio.Event(), asyncio.Event()

    def shortcut(target: bytes, _given: object, _own: object) -> bytes | None:
        return b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nquick" if target == b"/v1/bells/short" else None

    async def welcome() -> bytes:
        came.set()
        await held.wait()
        return b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nenter"

    def door(_target: bytes, _given: object) -> Enter | None:
        return lambda _body, _own: welcome()

    async def asked(session: aiohttp.ClientSession, method: str, path: str) -> tuple[str, str | None]:
        async with session.request(method, path, data=b"x" if method == "POST" else None) as answer:
            return await answer.text(), answer.headers.get("Connection")

    bells = service(diary, "bells", loops={"ring": slow_to_end(diary)}, shortcuts=[shortcut], doors=[door])
    async with running(bells) as (url, task), aiohttp.ClientSession(url) as session:
        assert await asked(session, "GET", "/v1/bells/short") == ("quick", None)
        in_hand = asyncio.create_task(asked(session, "POST", "/api/v1/bells"))
        await came.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await eventually(lambda: "draining" in diary.entries)
        assert await asked(session, "GET", "/v1/bells/short") == ("ok", "close")
        held.set()
        assert await in_hand == ("enter", "close")
        assert await asked(session, "POST", "/api/v1/bells") == ("ok", "close")
        diary.gate.set()
        await task


async def test_a_caller_who_stays_connected_and_silent_does_not_keep_a_service_from_stopping() -> None:
    diary = Diary()
    async with running(service(diary, "bells")) as (url, task):
        host, _, port = url.removeprefix("http://").partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(20):
            await task
        writer.close()
    assert diary.entries[-1] == "bells closed"


def slow_to_end(diary: Diary) -> Callable[[], Awaitable[None]]:
    """A loop that drains until the gate opens, or until it is told a second time."""

    async def loop() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            diary.entries.append("draining")
            await diary.gate.wait()
            diary.entries.append("drained")

    return loop


async def test_a_second_signal_hurries_a_loop_that_takes_its_time() -> None:
    diary = Diary()
    async with running(service(diary, "bells", loops={"ring": slow_to_end(diary)})) as (_, task):
        os.kill(os.getpid(), signal.SIGTERM)
        await eventually(lambda: "draining" in diary.entries)
        os.kill(os.getpid(), signal.SIGINT)
        async with asyncio.timeout(10):
            await task
    assert diary.entries == ["bells opened", "draining", "bells closed"]


async def test_loops_drain_before_resources_close_also_when_the_services_are_cancelled() -> None:
    diary, ready = Diary(), asyncio.Event()
    diary.gate.set()
    bells = service(diary, "bells", loops={"ring": slow_to_end(diary)})
    serving = asyncio.create_task(serve([bells], bind("127.0.0.1", 0), on_ready=ready.set))
    async with asyncio.timeout(30):
        await ready.wait()
        await asyncio.sleep(0)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
    assert diary.entries == ["bells opened", "draining", "drained", "bells closed"]


async def test_a_loop_that_fails_is_begun_again() -> None:
    runs: list[int] = []

    async def loop() -> None:
        runs.append(1)
        if len(runs) < 3:
            raise ConnectionError("gone")
        await asyncio.Event().wait()

    async with running(service(Diary(), "bells", loops={"ring": loop})):
        await eventually(lambda: len(runs) == 3)


async def test_one_front_door_serves_several_services_by_path() -> None:
    diary = Diary()
    async with (
        running(service(diary, "bells"), service(diary, "clocks")) as (url, _),
        aiohttp.ClientSession(url) as session,
    ):
        for path in ("/v1/clocks/", "/api/v1/clocks/12"):
            async with session.get(path) as answer:
                assert answer.status == 200
        async with session.get("/api/v1/clocksmith") as missing:
            assert (missing.status, (await missing.json())["error"]) == (404, "not_found")
    assert [entry for entry in diary.entries if "asked" in entry] == [
        "clocks asked /v1/clocks/",
        "clocks asked /api/v1/clocks/12",
    ]


async def test_health_tells_every_dependency_and_ready_fails_with_a_vital_one() -> None:
    async def fine() -> None: ...

    async def away() -> None:
        raise ConnectionError("secret address")

    checks = {
        "database": HealthCheck(away, "nothing", vital=True),
        "broker": HealthCheck(fine, "acceptance goes on"),
    }
    async with (
        running(service(Diary(), "bells", checks=checks), service(Diary(), "clocks")) as (url, _),
        aiohttp.ClientSession(url) as session,
    ):
        async with session.get("/health") as health:
            said = await health.json()
            assert health.status == 200
        assert said["data"]["bells"]["status"] == "degraded"
        assert said["data"]["bells"]["dependencies"]["database"] == {
            "status": "away",
            "without": "nothing",
            "reason": "ConnectionError",
        }
        assert said["data"]["clocks"]["status"] == "ok"
        async with session.get("/ready") as ready:
            assert (ready.status, (await ready.json())["error"], ready.headers["Retry-After"]) == (
                503,
                "unavailable",
                "1",
            )


async def test_the_dependencies_of_all_services_are_asked_at_once() -> None:
    meeting = asyncio.Barrier(2)

    async def meet() -> None:
        await meeting.wait()

    checks = {"database": HealthCheck(meet, "nothing", vital=True)}
    async with (
        running(service(Diary(), "bells", checks=checks), service(Diary(), "clocks", checks=checks)) as (url, _),
        aiohttp.ClientSession(url) as session,
    ):
        for path in ("/health", "/ready"):
            async with session.get(path) as answer:
                said = await answer.json()
                assert answer.status == 200
            assert [said["data"][name]["status"] for name in ("bells", "clocks")] == ["ok", "ok"]


def test_a_busy_port_is_told_before_anything_starts() -> None:
    with contextlib.closing(bind("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        bind("127.0.0.1", taken.getsockname()[1])


async def test_shortcuts_work_behind_the_front_door() -> None:
    diary = Diary()

    def shortcut(target: bytes, _given: object, _own: object) -> bytes | None:
        return b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nquick" if target == b"/v1/bells/short" else None

    async with (
        running(service(diary, "ropes"), service(diary, "bells", shortcuts=[shortcut])) as (url, _),
        aiohttp.ClientSession(url) as session,
    ):
        said = []
        for path in ("/v1/bells/short", "/v1/bells/long"):
            async with session.get(path) as answer:
                said.append(await answer.text())

    assert said == ["quick", "ok"]
    assert [entry for entry in diary.entries if "asked" in entry] == ["bells asked /v1/bells/long"]


async def test_a_service_is_served_with_its_doors() -> None:
    async def welcome() -> bytes:
        return b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nenter"

    def door(target: bytes, _given: object) -> Enter | None:
        return (lambda _body, _own: welcome()) if target == b"/api/v1/bells" else None

    async with running(service(Diary(), "bells", doors=[door])) as (url, _), aiohttp.ClientSession() as session:
        said = []
        for path in ("/api/v1/bells", "/api/v1/bells/1"):
            async with session.post(url + path, data=b"x") as answer:
                said.append(await answer.text())

    assert said == ["enter", "ok"]


async def test_the_loops_lag_is_measured_while_a_service_runs() -> None:
    def lag() -> float:
        return sum(s.value for family in LOOP_LAG.collect() for s in family.samples if s.name.endswith("_sum"))

    async with running(service(Diary(), "bells")):
        before = lag()

        def held_up() -> bool:
            time.sleep(0.3)  # what no callback should do
            return lag() > before + 0.1

        await eventually(held_up)
