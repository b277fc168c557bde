"""Late bounces: a mail that was taken is told to be failed, some seconds later, by a status call-back."""

import asyncio
import heapq
import itertools
import re
from typing import Final

import structlog

from carillon.kit.http.client import ServiceClient, ServiceUnavailable
from carillon.simulators.domain.rules import Rule
from carillon.simulators.tool.book import Book, Entry

_log = structlog.get_logger()
BOUNCING_SECONDS: Final = 3.0
_PATH: Final = "/api/v1/email/status/"
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_MOST_WAITING: Final = 100_000
_TRIES: Final = 5
_AT_ONCE: Final = 20
_NOT_DONE_FROM: Final = 300
_WORD: Final = "550 5.1.1 No such mailbox"


class Bounces:
    """Call-backs that wait for their time. `gateway` is None where nobody wants to hear of them: then none is told."""

    def __init__(self, book: Book, gateway: ServiceClient | None, *, pause: float = 0.5) -> None:
        self._book = book
        self._gateway = gateway
        self._pause = pause
        self._waiting: list[tuple[float, int, Entry, str]] = []
        self._more = asyncio.Event()
        self._order = itertools.count()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def forget(self) -> None:
        """Those whose time has not come are never told."""
        self._waiting.clear()

    def put(self, entry: Entry, rule: Rule) -> None:
        """To be told `seconds` from now; at once untold where there is nobody to tell, or nothing to name."""
        named = _UUID.search(entry.message_id or "")
        if self._gateway is None or named is None or len(self._waiting) >= _MOST_WAITING:
            self._book.note_bounce(entry, "untold")
            return
        self._book.note_bounce(entry, "waiting")
        seconds = BOUNCING_SECONDS if rule.seconds is None else rule.seconds
        due = asyncio.get_running_loop().time() + seconds
        heapq.heappush(self._waiting, (due, next(self._order), entry, rule.text or _WORD))
        self._more.set()

    async def run(self) -> None:
        """Tell each at its time, for ever."""
        async with asyncio.TaskGroup() as telling:
            slots = asyncio.Semaphore(_AT_ONCE)
            while True:
                await self._until_due()
                _, _, entry, word = heapq.heappop(self._waiting)
                await slots.acquire()
                telling.create_task(self._tell(entry, word)).add_done_callback(lambda _: slots.release())

    async def _until_due(self) -> None:
        now = asyncio.get_running_loop().time
        while not self._waiting or self._waiting[0][0] > now():
            self._more.clear()
            try:
                async with asyncio.timeout(self._waiting[0][0] - now() if self._waiting else None):
                    await self._more.wait()
            except TimeoutError:
                continue

    async def _tell(self, entry: Entry, word: str) -> None:
        named = _UUID.search(entry.message_id or "")
        assert self._gateway is not None
        assert named is not None
        body = {"notification_id": named[0].lower(), "status": "failed", "error": word}
        for tried in range(1, _TRIES + 1):
            try:
                answer = await self._gateway.call("POST", _PATH, body=body)
            except ServiceUnavailable as error:
                _log.warning("bounce_not_told_yet", error=str(error), tried=tried)
                await asyncio.sleep(max(self._pause * 2**tried, error.retry_after or 0) if tried < _TRIES else 0)
                continue
            if answer.status >= _NOT_DONE_FROM:
                _log.warning("bounce_refused", status=answer.status)
                break
            self._book.note_bounce(entry, "told")
            return
        self._book.note_bounce(entry, "untold")
