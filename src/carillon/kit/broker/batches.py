"""The batches one consumer has in hand: bounded in number, drained on stop, and never lost to a handler that raises."""

import asyncio
import random
import traceback
from collections.abc import Coroutine, Sequence

import structlog

from carillon.kit.broker.port import Delivery, Handler, Outcome

log = structlog.get_logger(__name__)

FIRST_BACK_OFF = 0.1
LONGEST_BACK_OFF = 5.0


def asked_to_stop() -> bool:
    """Whether somebody cancels the task that runs now."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class BackOff:
    """Growing, jittered pauses between attempts to reach a server; `reset` after a success."""

    def __init__(self) -> None:
        self._next = FIRST_BACK_OFF

    @property
    def fresh(self) -> bool:
        """True while no attempt has failed since the last success."""
        return self._next == FIRST_BACK_OFF

    def reset(self) -> None:
        self._next = FIRST_BACK_OFF

    async def pause(self) -> None:
        current, self._next = self._next, min(self._next * 2, LONGEST_BACK_OFF)
        await asyncio.sleep(current * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret


class Batches:
    """Runs at most `limit` batches at a time, each as a task of its own."""

    def __init__(self, queue: str, *, limit: int, drain_timeout: float) -> None:
        if limit < 1:
            raise ValueError(f"in_flight must be at least 1, not {limit}")
        self._queue = queue
        self._limit = limit
        self._drain_timeout = drain_timeout
        self._running: set[asyncio.Task[None]] = set()

    async def room(self) -> None:
        """Return when one more batch may start; raises CancelledError when the consumer was asked to stop."""
        if asked_to_stop():  # the request may have been lost inside a library's wait_for
            raise asyncio.CancelledError
        while len(self._running) >= self._limit:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)

    def start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work, name=f"batch of {self._queue}")
        self._running.add(task)
        task.add_done_callback(self._finished)

    async def drain(self) -> None:
        """Let running batches finish within the drain timeout, then cancel what is left."""
        try:
            if self._running:
                await asyncio.wait(self._running, timeout=self._drain_timeout)
        finally:
            await self._abandon()

    async def _abandon(self) -> None:
        left = list(self._running)
        if not left:
            return
        log.warning("broker_drain_timed_out", queue=self._queue, batches=len(left), seconds=self._drain_timeout)
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=self._drain_timeout)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("broker_batch_lost", queue=self._queue, error=type(error).__name__, where=_frames(error))


async def outcomes_of(handle: Handler, deliveries: Sequence[Delivery]) -> Sequence[Outcome] | None:
    """Return the handler's outcomes; None (and one log line) when it raised or did not answer one per delivery."""
    queue = deliveries[0].queue
    try:
        outcomes = await handle(deliveries)
    except Exception as error:  # noqa: BLE001 - whatever a handler raises, its batch comes again
        # The message of an exception may quote an address or a body: only its type and its place are logged.
        log.error(
            "broker_handler_failed",
            queue=queue,
            deliveries=len(deliveries),
            error=type(error).__name__,
            where=_frames(error),
        )
        return None
    if len(outcomes) != len(deliveries):
        log.error(
            "broker_handler_answered_wrong_number", queue=queue, deliveries=len(deliveries), outcomes=len(outcomes)
        )
        return None
    return outcomes


def _frames(error: BaseException) -> list[str]:
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)[-8:]]
