"""Events that were committed with their change and wait to be announced. Mails in the table: store/account_mail.py."""

from collections.abc import Sequence
from uuid import UUID

from carillon.contracts.channels import USERS_EVENTS
from carillon.kit.database import Database
from carillon.users.domain.events import Backlog, WaitingEvent

# `= ANY(ARRAY(…))` keeps the claim at its limit; a plain IN may be evaluated again and claim more.
_CLAIM = """
UPDATE users.outbox SET available_at = now() + make_interval(secs => $2)
WHERE id = ANY(ARRAY(
    SELECT id FROM users.outbox WHERE available_at <= now() AND topic <> 'account_mail'
    ORDER BY available_at LIMIT $1 FOR UPDATE SKIP LOCKED
)) RETURNING id, topic, body
"""
_BACKLOG = f"""
SELECT count(*) AS waiting, coalesce(extract(epoch FROM
    clock_timestamp() - min(written_at) FILTER (WHERE topic = '{USERS_EVENTS}')), 0)::float8 AS oldest
FROM users.outbox
"""  # noqa: S608 - made of constants
_SETTLE = "DELETE FROM users.outbox WHERE id = ANY($1::uuid[])"
_GIVE_BACK = "UPDATE users.outbox SET available_at = now() WHERE id = ANY($1::uuid[])"


class Outbox:
    """Claimed by lease: no lock is held while the broker is waited for."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def backlog(self) -> Backlog:
        """What waits, claimed or not."""
        row = await self._database.fetchrow(_BACKLOG)
        return Backlog(row["waiting"], row["oldest"]) if row else Backlog(0, 0)

    async def claim(self, *, size: int, lease_seconds: float) -> list[WaitingEvent]:
        rows = await self._database.fetch(_CLAIM, size, lease_seconds)
        return [WaitingEvent(row["id"], row["topic"], row["body"]) for row in sorted(rows, key=lambda row: row["id"])]

    async def settle(self, event_ids: Sequence[UUID]) -> None:
        await self._database.execute(_SETTLE, event_ids)

    async def give_back(self, event_ids: Sequence[UUID]) -> None:
        await self._database.execute(_GIVE_BACK, event_ids)
