"""`Carillon`: the methods of `AsyncCarillon` without await, for any thread, a running event loop's own too."""

import asyncio
import concurrent.futures
import functools
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from carillon.sdk.asynchronous import AsyncCarillon
from carillon.sdk.errors import Unreachable
from carillon.sdk.exchange import Patience

P = ParamSpec("P")
T = TypeVar("T")


def _waits(
    method: Callable[Concatenate[AsyncCarillon, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["Carillon", P], T]:
    @functools.wraps(method)
    def waiting(self: "Carillon", /, *given: P.args, **named: P.kwargs) -> T:
        return self._wait_for(method(self._there, *given, **named))

    return waiting


class Carillon:
    """A client of the Carillon at `url`, to be entered with `with`. Its connections live in a thread of its own."""

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        email: str | None = None,
        password: str | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._there = AsyncCarillon(url, token=token, email=email, password=password, patience=patience)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._entrance = threading.Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._there.url!r})"

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="carillon-sdk", daemon=True)
        self._thread.start()
        try:
            self._wait_for(self._there.__aenter__())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Calls of other threads that are under way end with Unreachable; what they asked for may have been done."""
        with self._entrance:  # who came in before is found by `_leave`, nobody comes after
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
            if loop is None or thread is None:
                return
            left = asyncio.run_coroutine_threadsafe(self._leave(), loop)
        try:
            left.result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _leave(self) -> None:
        calls = asyncio.all_tasks() - {asyncio.current_task()}
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await self._there.close()

    def _wait_for(self, doing: Coroutine[Any, Any, T]) -> T:
        with self._entrance:
            if self._loop is None:
                doing.close()
                raise RuntimeError("enter the client first: with Carillon(…) as carillon")
            future = asyncio.run_coroutine_threadsafe(doing, self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise Unreachable(0, "closed", "The client was closed before there was an answer.") from None
        except KeyboardInterrupt:
            future.cancel()
            raise

    notify = _waits(AsyncCarillon.notify)
    dry_run = _waits(AsyncCarillon.dry_run)
    batch = _waits(AsyncCarillon.batch)
    notification = _waits(AsyncCarillon.notification)
    by_request = _waits(AsyncCarillon.by_request)
    notifications = _waits(AsyncCarillon.notifications)
    timeline = _waits(AsyncCarillon.timeline)
    explain = _waits(AsyncCarillon.explain)
    cancel = _waits(AsyncCarillon.cancel)
    wait_until_ended = _waits(AsyncCarillon.wait_until_ended)
    create_template = _waits(AsyncCarillon.create_template)
    add_version = _waits(AsyncCarillon.add_version)
    publish_template = _waits(AsyncCarillon.publish_template)
    preview_template = _waits(AsyncCarillon.preview_template)
    templates = _waits(AsyncCarillon.templates)
    contact = _waits(AsyncCarillon.contact)
    user = _waits(AsyncCarillon.user)
    preferences = _waits(AsyncCarillon.preferences)
    change_preferences = _waits(AsyncCarillon.change_preferences)
    devices = _waits(AsyncCarillon.devices)
    add_device = _waits(AsyncCarillon.add_device)
    remove_device = _waits(AsyncCarillon.remove_device)
    broadcast = _waits(AsyncCarillon.broadcast)
    count_audience = _waits(AsyncCarillon.count_audience)
    broadcast_progress = _waits(AsyncCarillon.broadcast_progress)
    pause_broadcast = _waits(AsyncCarillon.pause_broadcast)
    resume_broadcast = _waits(AsyncCarillon.resume_broadcast)
    cancel_broadcast = _waits(AsyncCarillon.cancel_broadcast)
    dead_letters = _waits(AsyncCarillon.dead_letters)
    replay = _waits(AsyncCarillon.replay)
    stats = _waits(AsyncCarillon.stats)
