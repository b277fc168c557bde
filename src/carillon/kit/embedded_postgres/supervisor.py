"""Keeps the server running: starts it, brings it back on the same port when it dies, gives up with a reason."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from carillon.kit.embedded_postgres.errors import EmbeddedPostgresError, PortTakenError, SurvivorsError
from carillon.kit.embedded_postgres.installation import Installation
from carillon.kit.embedded_postgres.ports import free_port
from carillon.kit.embedded_postgres.postmaster import forget_former_server, start_postmaster, stop_postmaster
from carillon.kit.embedded_postgres.process import Child
from carillon.kit.embedded_postgres.survivors import end_survivors

SURVIVORS_S = 30.0
RETRY_S = 0.1
PORT_TRIES = 10
RESTART_DELAYS_S = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
MANY_DEATHS = 5
DEATHS_WINDOW_S = 60.0
FOLDER_CHECK_S = 5.0

log = structlog.get_logger(__name__)


class Supervisor:
    """The one who holds the child process of an installation."""

    def __init__(self, installation: Installation, *, socket_dir: Path) -> None:
        self.port = 0
        self._installation = installation
        self._socket_dir = socket_dir
        self._child: Child | None = None
        self._deaths: deque[float] = deque(maxlen=MANY_DEATHS)

    async def start(self) -> None:
        """First start, on a free port; a race for the port is run again."""
        for _ in range(PORT_TRIES):
            self.port = free_port()
            try:
                return await self._start()
            except PortTakenError:
                continue
        raise EmbeddedPostgresError(f"found no free port on 127.0.0.1 for PostgreSQL in {PORT_TRIES} tries; try again")

    async def run(self) -> None:
        """Bring the server back whenever it dies; raises EmbeddedPostgresError when it cannot."""
        while True:
            if self._child is not None:
                code = await self._watch(self._child)
                self._child = None
                log.warning("embedded_postgres_died", exit_code=code)
                self._count_death()
            await self._restart()
            log.info("embedded_postgres_restarted", port=self.port)

    async def stop(self) -> None:
        if self._child is not None:
            await stop_postmaster(self._child)
            self._child = None

    async def _start(self) -> None:
        """Start on the current port, ending survivors of an earlier run for at most 30 s."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + SURVIVORS_S
        while True:
            if await end_survivors(self._installation.home, timeout_s=max(deadline - clock(), 0)):
                forget_former_server(self._installation)
            try:
                self._child = await start_postmaster(self._installation, port=self.port, socket_dir=self._socket_dir)
            except SurvivorsError:
                if clock() > deadline:
                    raise EmbeddedPostgresError(
                        f"processes of an earlier PostgreSQL still use {self._installation.data} and do not end; "
                        "end them by hand (they are named 'postgres') and start again"
                    ) from None
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def _watch(self, child: Child) -> int:
        """Wait for the end of `child`, and look meanwhile whether its data folder is still there."""
        while not await child.exited_within(FOLDER_CHECK_S):
            await asyncio.to_thread(self._check_folder)
        return await child.wait()

    async def _restart(self) -> None:
        """Start again, with growing pauses; the last failure is raised."""
        failure = EmbeddedPostgresError("PostgreSQL died; start again")
        for delay_s in RESTART_DELAYS_S:
            await asyncio.sleep(delay_s)
            self._check_folder()
            try:
                return await self._start()
            except PortTakenError:
                failure = EmbeddedPostgresError(
                    f"PostgreSQL died and its port {self.port} is taken by another program; start again"
                )
            except EmbeddedPostgresError as error:
                failure = error
            log.warning("embedded_postgres_restart_failed", reason=str(failure))
        raise failure

    def _check_folder(self) -> None:
        folder = self._installation.folder
        if not folder.is_still_ours():
            raise EmbeddedPostgresError(f"the data folder {folder.path} was removed while PostgreSQL ran; start again")

    def _count_death(self) -> None:
        now = asyncio.get_running_loop().time()
        self._deaths.append(now)
        if len(self._deaths) == MANY_DEATHS and now - self._deaths[0] < DEATHS_WINDOW_S:
            raise EmbeddedPostgresError(
                f"PostgreSQL died {MANY_DEATHS} times within {DEATHS_WINDOW_S:.0f} s; "
                f"the reason is in {self._installation.folder.log}"
            )


@asynccontextmanager
async def supervised(supervisor: Supervisor) -> AsyncIterator[None]:
    """Run the supervisor beside the body; when it gives up, the body is cancelled and its error raised."""
    owner = asyncio.current_task()
    task = asyncio.create_task(supervisor.run(), name="embedded-postgres-supervisor")
    cancelled_by_us = False

    def give_up(_: object) -> None:
        nonlocal cancelled_by_us
        if not task.cancelled() and owner is not None and not owner.done():
            cancelled_by_us = owner.cancel()

    task.add_done_callback(give_up)
    try:
        yield
    finally:
        task.remove_done_callback(give_up)
        failure = await _ended(task)
        if cancelled_by_us and owner is not None:
            owner.uncancel()
        if failure is not None:
            raise failure


async def _ended(task: asyncio.Task[None]) -> BaseException | None:
    task.cancel()
    await asyncio.wait([task])
    return None if task.cancelled() else task.exception()
