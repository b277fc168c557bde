"""`Service`: what a deployable is, and how one or several of them run in one process until told to stop."""

import asyncio
import contextlib
import gc
import resource
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import structlog
import uvicorn

from carillon.kit.http import observed
from carillon.kit.http.door import Admitting
from carillon.kit.http.edge import App
from carillon.kit.http.front_door import front_door
from carillon.kit.http.protocol import LAST, EnvelopeProtocol
from carillon.kit.http.shortcut import Answering
from carillon.kit.http.system import HealthCheck
from carillon.kit.telemetry.loop_lag import watch_loop
from carillon.kit.telemetry.metrics import LOOP_RESTARTS

_log = structlog.get_logger()

Loop = Callable[[], Awaitable[None]]
_DRAIN_SECONDS = 25
_LAST_SECONDS = 5
_LEAVE_SECONDS = 1
_STEADY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Running:
    """What an opened service offers: app, loops (restarted when they fail), checks, and its ways past the app."""

    app: App
    loops: Mapping[str, Loop] = field(default_factory=dict)
    checks: Mapping[str, HealthCheck] = field(default_factory=dict)
    shortcuts: Sequence[Answering] = ()
    doors: Sequence[Admitting] = ()


@dataclass(frozen=True, slots=True)
class Service:
    """A deployable. `open` opens its resources; `paths` are the prefixes (in `/api/v1` spelling) that it answers."""

    name: str
    open: Callable[[], AbstractAsyncContextManager[Running]]
    paths: tuple[str, ...] = ()


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: `serve` below decides the order of stopping."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, before anything else starts. Raises OSError when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, event loops recognise TCP and switch Nagle's delay off.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(2048)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def _allow_connections() -> None:
    """Take as many open files as the system lets us: connections of strangers shall not use up our own."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def serve(
    services: Sequence[Service], listening: socket.socket, *, on_ready: Callable[[], None] = lambda: None
) -> None:
    """Open every service, serve their apps on one socket, run their loops; return after SIGTERM or SIGINT.

    Stopping: loops drain first, while HTTP still answers, each the last on its connection; then requests in hand
    finish; then resources close. A second signal hurries the loops.
    """
    stop, hurry = asyncio.Event(), asyncio.Event()
    _allow_connections()
    async with AsyncExitStack() as stack:
        stack.enter_context(_signals(stop, hurry))
        running = {service.name: await stack.enter_async_context(service.open()) for service in services}
        app: App = front_door([(service, running[service.name]) for service in services])
        shortcuts = [shortcut for each in running.values() for shortcut in each.shortcuts]
        doors = [door for each in running.values() for door in each.doors]
        if observed.wanted():
            app = observed.observed_app(app)
            shortcuts = [observed.observed_shortcut(shortcut) for shortcut in shortcuts]
            doors = [observed.observed_door(door) for door in doors]
        async with http_server(app, listening, shortcuts=shortcuts, doors=doors) as leave:
            lag = asyncio.create_task(watch_loop(), name="loop_lag")
            loops = [
                asyncio.create_task(_kept(s, n, loop), name=f"{s}.{n}")
                for s, r in running.items()
                for n, loop in r.loops.items()
            ]
            try:
                gc.collect()
                gc.freeze()
                gc.set_threshold(50_000, 20, 20)
                on_ready()
                await stop.wait()
            finally:  # whatever ends us, nobody works on with closed resources
                leaving = asyncio.create_task(leave(), name="leave")
                await _drain(loops, hurry)
                await _unless(hurry, leaving)
                lag.cancel()


@contextlib.contextmanager
def _signals(stop: asyncio.Event, hurry: asyncio.Event) -> Iterator[None]:
    def told() -> None:
        (hurry if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@contextlib.asynccontextmanager
async def http_server(
    app: App, listening: socket.socket, *, shortcuts: Sequence[Answering] = (), doors: Sequence[Admitting] = ()
) -> AsyncIterator[Callable[[], Coroutine[Any, Any, None]]]:
    """Answers until the end of the block. What is yielded sends whoever is connected away, in a second at most."""
    config = uvicorn.Config(
        app,
        http=cast(type[asyncio.Protocol], partial(EnvelopeProtocol, shortcuts=shortcuts, doors=doors)),
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # a forged X-Forwarded-For changes nothing
        timeout_keep_alive=40,  # longer than our own clients keep a connection, or they would write into its end
        timeout_graceful_shutdown=10,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listening]), name="http")
    while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn offers no event
        await asyncio.sleep(0.005)
    try:
        yield partial(_send_away, server)
    finally:
        server.should_exit = True
        await task


async def _send_away(server: _Server) -> None:
    """Let no caller write into a connection that is about to close: the busy ones hear of it with their next answer."""
    server.config.encoded_headers.append(LAST)  # of the lists that the server makes anew each second
    server.server_state.default_headers.append(LAST)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LEAVE_SECONDS):
            while server.server_state.connections:  # noqa: ASYNC110 - uvicorn offers no event
                await asyncio.sleep(0.01)


async def _unless(hurry: asyncio.Event, task: asyncio.Task[None]) -> None:
    """Wait for a task that ends by itself, or for a second signal."""
    hurried = asyncio.create_task(hurry.wait())
    await asyncio.wait([task, hurried], return_when=asyncio.FIRST_COMPLETED)
    for each in (task, hurried):
        each.cancel()


async def _kept(service: str, name: str, loop: Loop) -> None:
    """Run a loop for ever: when it fails it is logged and begun again, ever later, but soon after a steady minute."""
    delay = 0.1
    while True:
        started = asyncio.get_running_loop().time()
        try:
            await loop()
        except Exception as error:  # noqa: BLE001 - whatever a loop fails of, it is begun again
            if asyncio.get_running_loop().time() - started > _STEADY_SECONDS:
                delay = 0.1
            LOOP_RESTARTS.labels(service, name).inc()
            _log.warning("loop_failed", service=service, loop=name, error=_named(error), again_in=delay)
            await asyncio.sleep(delay)
            delay = min(delay * 2, 5)
        else:
            return


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


async def _drain(loops: Sequence[asyncio.Task[None]], hurry: asyncio.Event) -> None:
    """Ask the loops to stop, and once more those that take longer than 25 s, or than a second signal."""
    for task in loops:
        task.cancel()
    if not loops:
        return
    ends = [asyncio.create_task(hurry.wait()), asyncio.create_task(_all_ended(loops))]
    await asyncio.wait(ends, timeout=_DRAIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        end.cancel()
    late = [task for task in loops if not task.done()]
    for task in late:
        _log.warning("loop_did_not_drain", loop=task.get_name())
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=_LAST_SECONDS)


async def _all_ended(loops: Sequence[asyncio.Task[None]]) -> None:
    await asyncio.wait(loops)
