"""Broadcasts: acceptances and the position move in one transaction, so that nobody is met twice or missed."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from carillon.contracts.broadcasts import BroadcastRequested, BroadcastStatus
from carillon.gateway.broadcasts import Draft, Kept, Page
from carillon.gateway.domain import Acceptance
from carillon.gateway.store.acceptances import insert
from carillon.gateway.store.erasures import TOMBSTONES
from carillon.kit.database import Connection, Database, Row

_COLUMNS = ", ".join(Kept.__struct_fields__)
_OWN = "($2::uuid IS NULL OR caller_id = $2)"
_ADD = """
INSERT INTO gateway.broadcasts (
    id, caller_id, request_id, body_hash, body, correlation_id, status, reason, total, created_at, updated_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, now(), now())
ON CONFLICT DO NOTHING RETURNING id
"""
_OF_REQUEST = f"SELECT {_COLUMNS} FROM gateway.broadcasts WHERE caller_id = $1 AND request_id = $2"  # noqa: S608
_ONE = f"SELECT {_COLUMNS} FROM gateway.broadcasts WHERE id = $1 AND {_OWN}"  # noqa: S608 - of constants, as below
_PAGE = f"""
SELECT {_COLUMNS} FROM gateway.broadcasts WHERE ($1::uuid IS NULL OR caller_id = $1)
ORDER BY id DESC LIMIT $2 OFFSET $3
"""  # noqa: S608
_HOW_MANY = "SELECT count(*) FROM gateway.broadcasts WHERE ($1::uuid IS NULL OR caller_id = $1)"
_GIVE = """
WITH given AS (
    INSERT INTO gateway.broadcast_recipients (broadcast_id, user_id)
    SELECT $1, g.user_id FROM unnest($2::uuid[]) AS g (user_id)
    WHERE NOT EXISTS (SELECT FROM gateway.erased_users e WHERE e.user_id = g.user_id)
    ON CONFLICT DO NOTHING RETURNING user_id
)
UPDATE gateway.broadcasts SET total = total + (SELECT count(*) FROM given), updated_at = now() WHERE id = $1
"""
_UNTOUCHED = f"""
SELECT status = 'paused' AND enqueued = 0 AND position IS NULL FROM gateway.broadcasts WHERE id = $1 AND {_OWN}
FOR UPDATE
"""  # noqa: S608
_TURN = f"""
UPDATE gateway.broadcasts SET status = $3, reason = $5, updated_at = now(), lease_until = NULL,
    sent_before = CASE WHEN $3 = 'running' THEN delivered + failed ELSE sent_before END,
    failed_before = CASE WHEN $3 = 'running' THEN failed ELSE failed_before END,
    failed_tries = CASE WHEN $3 = 'running' THEN 0 ELSE failed_tries END
WHERE id = $1 AND {_OWN} AND status = ANY($4::text[]) RETURNING id
"""  # noqa: S608
_CLAIM = f"""
UPDATE gateway.broadcasts SET lease_until = now() + $1 * interval '1 second', turned_at = clock_timestamp()
WHERE id = (
    SELECT id FROM gateway.broadcasts
    WHERE status IN ('running', 'cancelling') AND (lease_until IS NULL OR lease_until < now())
    ORDER BY status = 'running', turned_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING {_COLUMNS}
"""  # noqa: S608
_END_LEASES = "UPDATE gateway.broadcasts SET lease_until = NULL WHERE lease_until IS NOT NULL"
_RELEASE = """
UPDATE gateway.broadcasts SET lease_until = CASE WHEN $2 > 0 THEN now() + $2 * interval '1 second' END WHERE id = $1
"""
_RECIPIENTS = """
SELECT user_id FROM gateway.broadcast_recipients
WHERE broadcast_id = $1 AND ($2::uuid IS NULL OR user_id > $2) ORDER BY user_id LIMIT $3
"""
_STANDS = """
SELECT id FROM gateway.broadcasts
WHERE id = $1 AND status = 'running' AND position IS NOT DISTINCT FROM $2::uuid AND ($3::bigint IS NULL OR total = $3)
FOR UPDATE
"""
_MOVE = """
UPDATE gateway.broadcasts
SET position = coalesce($2, position), enqueued = enqueued + $3, failed_tries = 0,
    total = CASE WHEN $2::uuid IS NULL THEN enqueued + $3
        WHEN total IS NOT NULL THEN greatest(total, enqueued + $3) END,
    status = CASE WHEN $2::uuid IS NULL THEN 'finished' ELSE status END,
    finished_at = CASE WHEN $2::uuid IS NULL THEN now() END, updated_at = now()
WHERE id = $1
"""
_DROP = "DELETE FROM gateway.broadcast_recipients WHERE broadcast_id = $1 AND user_id = ANY($2::uuid[])"
# Those of them that are known to be erased. Erasing waits for whoever is under the lock, and finds what they wrote.
_ERASED = "SELECT user_id FROM gateway.erased_users WHERE user_id = ANY($1::uuid[])"
_TRIED = """
UPDATE gateway.broadcasts SET failed_tries = failed_tries + 1, updated_at = now() WHERE id = $1 RETURNING failed_tries
"""
# So many rows are looked at, ended or not: a bite costs the same wherever it is taken.
PENDING = """
WITH bite AS MATERIALIZED (
    SELECT id, status FROM gateway.notifications WHERE broadcast_id = $1 AND id > $2 ORDER BY id LIMIT $3
)
SELECT ARRAY(SELECT id FROM bite WHERE status = 'pending' ORDER BY id) AS pending,
    (SELECT id FROM bite ORDER BY id OFFSET $3 - 1 LIMIT 1) AS last
"""
_FOLDING = 0x0CA7_2113
"""The advisory lock of whoever folds: two that do so would lock the broadcasts in different orders."""
_FOLD = """
WITH gone AS (
    DELETE FROM gateway.broadcast_changes
    WHERE id = ANY(ARRAY(SELECT id FROM gateway.broadcast_changes ORDER BY id LIMIT $1))
    RETURNING broadcast_id, was, becomes
), moved AS (
    SELECT broadcast_id, becomes AS status, 1 AS by FROM gone UNION ALL SELECT broadcast_id, was, -1 FROM gone
), sums AS (
    SELECT broadcast_id,
           coalesce(sum(by) FILTER (WHERE status = 'delivered'), 0) AS delivered,
           coalesce(sum(by) FILTER (WHERE status = 'failed'), 0) AS failed,
           coalesce(sum(by) FILTER (WHERE status = 'suppressed'), 0) AS suppressed,
           coalesce(sum(by) FILTER (WHERE status = 'cancelled'), 0) AS cancelled,
           coalesce(sum(by) FILTER (WHERE status = 'expired'), 0) AS expired
    FROM moved GROUP BY broadcast_id
), counted AS (
    UPDATE gateway.broadcasts b
    SET delivered = b.delivered + s.delivered, failed = b.failed + s.failed, suppressed = b.suppressed + s.suppressed,
        cancelled = b.cancelled + s.cancelled, expired = b.expired + s.expired, updated_at = now()
    FROM sums s WHERE b.id = s.broadcast_id
)
SELECT count(*) FROM gone
"""
_encode = msgspec.json.Encoder().encode
_read = msgspec.json.Decoder(BroadcastRequested).decode


class Broadcasts:
    """Every statement about broadcasts. `owner` None: whoever began it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, draft: Draft, *, total: int | None) -> bool:
        """False where the caller's request_id was used before."""
        body, start = draft.body, draft.body.start
        status, reason = ("running", None) if start else ("paused", "not_started")
        async with self._database.transaction() as connection:
            added = await connection.fetchval(
                _ADD, draft.id, draft.caller_id, body.request_id, draft.body_hash, _encode(body),
                draft.correlation_id, status, reason, 0 if draft.user_ids else total,
            )  # fmt: skip
            if added is not None and draft.user_ids:
                await self._list(connection, draft.id, draft.user_ids)
        return added is not None

    async def of_request(self, caller_id: UUID, request_id: str) -> Kept | None:
        return _kept(await self._database.fetchrow(_OF_REQUEST, caller_id, request_id))

    async def one(self, broadcast_id: UUID, *, owner: UUID | None) -> Kept | None:
        return _kept(await self._database.fetchrow(_ONE, broadcast_id, owner))

    async def page(self, *, owner: UUID | None, limit: int, offset: int) -> tuple[list[Kept], int]:
        """The newest first, and how many there are in all."""
        rows = await self._database.fetch(_PAGE, owner, limit, offset)
        total = await self._database.fetchval(_HOW_MANY, owner)
        return [found for row in rows if (found := _kept(row))], int(total)

    async def give(self, broadcast_id: UUID, user_ids: Sequence[UUID], *, owner: UUID | None) -> bool:
        """Add people to one that has not begun; False where it has, or where there is none."""
        async with self._database.transaction() as connection:
            if not await connection.fetchval(_UNTOUCHED, broadcast_id, owner):
                return False
            await self._list(connection, broadcast_id, sorted(set(user_ids)))
            return True

    async def _list(self, connection: Connection, broadcast_id: UUID, user_ids: Sequence[UUID]) -> None:
        """Whoever is erased is listed no more, and whoever erases waits for those who list."""
        await connection.execute("SELECT pg_advisory_xact_lock_shared($1)", TOMBSTONES)
        await connection.execute(_GIVE, broadcast_id, list(user_ids))

    async def turn(
        self, broadcast_id: UUID, to: BroadcastStatus, *, out_of: Sequence[str], reason: str | None, owner: UUID | None
    ) -> bool:
        """Change the status; False where it is none of `out_of`. Resuming counts failures anew."""
        return bool(await self._database.fetchval(_TURN, broadcast_id, owner, to, list(out_of), reason))

    async def claim(self, *, lease_seconds: float) -> Kept | None:
        """One that is taken back, else the one under way that has waited longest; nobody else gets it before the lease
        ends."""
        return _kept(await self._database.fetchrow(_CLAIM, lease_seconds))

    async def release(self, broadcast_id: UUID, *, rest_seconds: float) -> None:
        """Nobody gets it before the rest is over, unless it is resumed.

        Another's lease that is ended by this costs a page read in vain, no more: `enqueue` looks at the position.
        """
        await self._database.execute(_RELEASE, broadcast_id, rest_seconds)

    async def end_leases(self) -> None:
        """Take back what dead gateways held."""
        await self._database.execute(_END_LEASES)

    async def recipients(self, broadcast_id: UUID, *, after: UUID | None, most: int) -> Page:
        """Of those that were given by their ids."""
        rows = await self._database.fetch(_RECIPIENTS, broadcast_id, after, most)
        ids = [row[0] for row in rows]
        return Page(ids, ids[-1] if len(ids) == most else None)

    async def enqueue(self, broadcast: Kept, batch: Sequence[Acceptance], position: UUID | None) -> int | None:
        """Accept these and move on, in one commit; None where it does not stand where it was read, or was stopped.

        Whoever was erased meanwhile is passed over. Raises RowsRefused, and nothing is written then.
        """
        untouched = broadcast.filter is None and broadcast.position is None  # people may have been added since
        async with self._database.transaction() as connection:
            total = broadcast.total if untouched else None
            if await connection.fetchval(_STANDS, broadcast.id, broadcast.position, total) is None:
                return None
            met = [one.user_id for one in batch]
            there = await self._not_erased(connection, batch, met)
            fresh = await insert(connection, there, broadcast_id=broadcast.id) if there else set()
            await self._move(connection, broadcast, met, position, len(fresh))
            return len(fresh)

    async def _not_erased(
        self, connection: Connection, batch: Sequence[Acceptance], met: Sequence[UUID]
    ) -> Sequence[Acceptance]:
        await connection.execute("SELECT pg_advisory_xact_lock_shared($1)", TOMBSTONES)
        erased = {row[0] for row in await connection.fetch(_ERASED, met)}
        return [one for one in batch if one.user_id not in erased] if erased else batch

    async def _move(
        self, connection: Connection, broadcast: Kept, met: Sequence[UUID], position: UUID | None, fresh: int
    ) -> None:
        if broadcast.filter is None and met:
            await connection.execute(_DROP, broadcast.id, list(met))
        await connection.execute(_MOVE, broadcast.id, position, fresh)

    async def tried_in_vain(self, broadcast_id: UUID) -> int:
        """How many tries in a row have failed by now, this one included."""
        return int(await self._database.fetchval(_TRIED, broadcast_id) or 0)

    async def pending(self, broadcast_id: UUID, *, after: UUID, most: int) -> tuple[list[UUID], UUID | None]:
        """Of the next `most` notifications of a broadcast: those that have not ended, and the last, if more follow."""
        row = await self._database.fetchrow(PENDING, broadcast_id, after, most)
        assert row is not None, "it has no FROM"
        return list(row["pending"]), row["last"]

    async def fold(self, *, most: int) -> int:
        """Count what has ended since; answers how many endings, at most `most`. Each is counted once."""
        async with self._database.transaction() as connection:
            if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _FOLDING):
                return 0
            return int(await connection.fetchval(_FOLD, most))


def _kept(row: Row | None) -> Kept | None:
    if row is None:
        return None
    given: dict[str, Any] = dict(row)
    return Kept(**{**given, "body": _read(given["body"])})
