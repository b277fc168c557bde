"""Forget: somebody was erased; what was written about them here goes as well, and whether it arrived stays."""

from typing import Protocol
from uuid import UUID

import structlog

_log = structlog.get_logger()
_BITE = 500


class ErasureStore(Protocol):
    async def scrub(self, user_id: UUID, *, bite: int) -> int:
        """How many of the user's notifications have not ended."""
        ...


async def forget(user_id: UUID, store: ErasureStore) -> bool:
    """False while notifications to this user are on their way: it is to be done again when they have ended.

    They end as failed, because the worker that has one in hand asks for a user who is not there.
    """
    pending = await store.scrub(user_id, bite=_BITE)
    _log.info("user_forgotten", user_id=str(user_id), pending=pending)
    return pending == 0
