"""Password hashes in threads of their own: one holds a core for some 27 ms, which the event loop cannot spare.

New hashes are argon2id; those of other kinds are checked, until the next right login makes a new one of them.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError

from carillon.kit.errors import Unavailable
from carillon.users.domain.passwords import normalised
from carillon.users.providers.common_passwords import CommonPasswords
from carillon.users.providers.hashes import fits

T = TypeVar("T")
_MEMORY_KIB, _PASSES, _LANES = 19 * 1024, 2, 1


class Argon2Passwords:
    """Hashes and checks passwords; when more than `waiting` are in hand, says Unavailable instead of queueing on."""

    def __init__(self, *, threads: int, waiting: int) -> None:
        self._hasher = PasswordHasher(time_cost=_PASSES, memory_cost=_MEMORY_KIB, parallelism=_LANES)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._waiting = waiting
        self._in_hand = 0
        self._common = CommonPasswords()
        self._nobodys = self._hasher.hash("the password of nobody")

    async def hashed(self, password: str) -> str:
        return await self._in_thread(lambda: self._hasher.hash(normalised(password)))

    async def matches(self, kept: str | None, password: str) -> bool:
        """False for a wrong password; without a kept hash as well, after the same work."""
        return await self._in_thread(lambda: self._verified(kept or self._nobodys, password) and kept is not None)

    def outdated(self, kept: str) -> bool:
        """Whether a new hash of the same password would be another kind, or cost something else."""
        try:
            return self._hasher.check_needs_rehash(kept)
        except InvalidHashError:
            return True

    def is_common(self, password: str) -> bool:
        return password in self._common

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _verified(self, kept: str, password: str) -> bool:
        """The normalised text first; then as it was given, for hashes that were made without normalisation."""
        plain = normalised(password)
        return fits(self._hasher, kept, plain) or (plain != password and fits(self._hasher, kept, password))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._in_hand >= self._waiting:
            raise Unavailable("Too many people are signing in at this moment: try again shortly.")
        self._in_hand += 1
        loop = asyncio.get_running_loop()
        future = self._executor.submit(work)
        future.add_done_callback(lambda done: self._finished(done, loop))
        return await asyncio.wrap_future(future)

    def _finished(self, _future: "Future[T]", loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody counts any more
            loop.call_soon_threadsafe(self._one_less)

    def _one_less(self) -> None:
        self._in_hand -= 1


@contextlib.asynccontextmanager
async def open_passwords(*, threads: int, waiting: int) -> AsyncIterator[Argon2Passwords]:
    """Its threads end with the block."""
    passwords = await asyncio.to_thread(lambda: Argon2Passwords(threads=threads, waiting=waiting))
    try:
        yield passwords
    finally:
        passwords.close()
