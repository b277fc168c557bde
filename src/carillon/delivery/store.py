"""Every SQL statement of a worker: claims by the database's clock, outcomes only where the claim is still ours."""

import os
import socket
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from carillon.contracts.channels import Channel
from carillon.delivery.domain import AlreadyFailed, AlreadySent, ClaimFound, Granted, HeldElsewhere
from carillon.delivery.ports import ClaimWanted, DeliveryKey, Settlement
from carillon.kit.database import Database, Row
from carillon.kit.ids import first_key_of

# Before a generation is claimed, its former ones are closed: whoever is about to claim one of them waits here, or is
# waited for, at its key. One that is sent, or in somebody's hands, stays as it is: `_FORMER` finds it afterwards.
_SUPERSEDE = """
INSERT INTO {schema}.deliveries AS d
    (notification_id, generation, channel, state, claim, attempt, owner, at_most_once, reason, lease_until, settled_at)
SELECT w.notification_id, former, $3, 'failed', 0, 0, $5, false, 'superseded',
    clock_timestamp() + $4 * interval '1 second', clock_timestamp()
FROM (
    SELECT notification_id, max(generation) AS generation
    FROM unnest($1::uuid[], $2::int[]) AS g (notification_id, generation) GROUP BY notification_id
) AS w CROSS JOIN LATERAL (
    SELECT generate_series(greatest(w.generation - {most}, 0), w.generation - 1) AS former
    UNION ALL
    SELECT l.generation FROM {schema}.deliveries AS l
    WHERE l.notification_id = w.notification_id AND l.generation < w.generation - {most} AND l.channel = $3
) AS f
ORDER BY w.notification_id, former
ON CONFLICT (notification_id, generation, channel) DO UPDATE SET
    state = 'failed',
    reason = 'superseded',
    lapses = d.lapses + CASE WHEN d.state = 'claimed' THEN 1 ELSE 0 END,
    lease_until = excluded.lease_until,
    settled_at = excluded.settled_at
WHERE d.state = 'released'
    OR (d.state = 'claimed' AND NOT d.at_most_once AND d.lease_until < clock_timestamp())
"""

# A lapsed claim's outcome is unknown: it is tried again, but a message that may go out at most once has failed. What
# was queued anew meanwhile is not claimed under its former generation. (A scalar subquery always uses the index.)
_CLAIM = """
INSERT INTO {schema}.deliveries AS d (notification_id, generation, channel, owner, at_most_once, lease_until)
SELECT w.notification_id, w.generation, $4, $6, w.at_most_once, clock_timestamp() + $5 * interval '1 second'
FROM unnest($1::uuid[], $2::int[], $3::bool[]) AS w (notification_id, generation, at_most_once)
WHERE coalesce((
    SELECT max(l.generation) FROM {schema}.deliveries AS l
    WHERE l.notification_id = w.notification_id AND l.channel = $4
), 0) <= w.generation
ORDER BY w.notification_id, w.generation
ON CONFLICT (notification_id, generation, channel) DO UPDATE SET
    claim = d.claim + 1,
    attempt = d.attempt + CASE WHEN d.state = 'claimed' AND excluded.at_most_once THEN 0 ELSE 1 END,
    state = CASE WHEN d.state = 'claimed' AND excluded.at_most_once THEN 'failed' ELSE 'claimed' END,
    reason = CASE WHEN d.state = 'claimed' AND excluded.at_most_once THEN 'outcome_unknown' END,
    lapses = d.lapses + CASE WHEN d.state = 'claimed' THEN 1 ELSE 0 END,
    owner = excluded.owner,
    at_most_once = excluded.at_most_once,
    lease_until = excluded.lease_until,
    settled_at = NULL
WHERE d.state = 'released' OR (d.state = 'claimed' AND d.lease_until < clock_timestamp())
RETURNING d.notification_id, d.generation, d.state, d.attempt, d.claim, d.lapses, d.provider, d.reason, d.error
"""

_HELD = """
SELECT d.notification_id, d.generation, d.state, d.attempt, d.provider, d.provider_message_id, d.reason, d.error,
    d.settled_at, greatest(extract(epoch FROM d.lease_until - clock_timestamp()), 0)::float8 AS remaining
FROM {schema}.deliveries AS d
JOIN unnest($1::uuid[], $2::int[]) AS w (notification_id, generation) USING (notification_id, generation)
WHERE d.channel = $3
"""

# What was queued anew: a former generation may have gone out after all, or be going out now; or nobody knows, and it
# may go out at most once. Whatever was not closed before is in somebody's hands, or was a moment ago.
_FORMER = """
SELECT d.notification_id, w.generation, d.attempt, d.provider, d.provider_message_id, d.error, d.settled_at,
    CASE
        WHEN d.state = 'claimed' AND d.at_most_once AND d.lease_until <= clock_timestamp() THEN 'failed' ELSE d.state
    END AS state,
    CASE WHEN d.state = 'claimed' THEN 'outcome_unknown' ELSE d.reason END AS reason,
    CASE
        WHEN d.state = 'claimed' THEN greatest(extract(epoch FROM d.lease_until - clock_timestamp()), 0) ELSE 0
    END::float8 AS remaining
FROM {schema}.deliveries AS d
JOIN unnest($1::uuid[], $2::int[]) AS w (notification_id, generation)
    ON d.notification_id = w.notification_id AND d.generation < w.generation
WHERE d.channel = $3 AND (d.state <> 'failed' OR d.reason = 'outcome_unknown')
ORDER BY d.state = 'sent', d.state = 'failed'
"""

# The other way round: what comes late, after it was queued anew, has become whatever its successor became.
_LATER = """
SELECT d.notification_id, w.generation, d.state, d.attempt, d.provider, d.provider_message_id, d.reason, d.error,
    d.settled_at, $4::float8 AS remaining
FROM {schema}.deliveries AS d
JOIN unnest($1::uuid[], $2::int[]) AS w (notification_id, generation)
    ON d.notification_id = w.notification_id AND d.generation > w.generation
WHERE d.channel = $3 AND d.reason IS DISTINCT FROM 'superseded'
ORDER BY d.state = 'sent', d.generation
"""

_SETTLE = """
UPDATE {schema}.deliveries AS d SET
    state = o.state,
    attempt = d.attempt - o.uncounted,
    provider = o.provider,
    provider_message_id = o.provider_message_id,
    reason = o.reason,
    error = o.error,
    settled_at = clock_timestamp()
FROM unnest($1::uuid[], $2::int[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::int[])
    AS o (notification_id, generation, claim, state, provider, provider_message_id, reason, error, uncounted)
WHERE d.notification_id = o.notification_id AND d.generation = o.generation AND d.channel = $10
    AND d.claim = o.claim AND d.state = 'claimed'
RETURNING d.notification_id, d.generation, d.claim
"""

_END_LEASES = """
UPDATE {schema}.deliveries SET lease_until = clock_timestamp()
WHERE state = 'claimed' AND lease_until > clock_timestamp()
"""

# By the key, which is in the order of time; what was settled lately stays, however old its notification is.
_DROP_SETTLED = """
DELETE FROM {schema}.deliveries WHERE ctid = ANY(ARRAY(
    SELECT d.ctid FROM {schema}.deliveries AS d
    WHERE d.notification_id < $1 AND coalesce(d.settled_at, d.lease_until) < clock_timestamp() - $2 * interval '1 day'
    ORDER BY d.notification_id, d.generation, d.channel LIMIT $3 FOR UPDATE SKIP LOCKED
))
RETURNING 1
"""

_MOMENT = 0.05
_SUPERSEDED = "superseded"
# As many former generations are closed whether or not they were ever here; of what is older, those that were. No
# gateway leaves out so many: they count by one.
_MOST_FORMER = 100


class DeliveriesStore:
    """Deliveries of one channel in one schema; `lease_seconds` is how long a claim stands without an outcome."""

    def __init__(self, database: Database, *, schema: str, channel: Channel, lease_seconds: float) -> None:
        self._database = database
        self._channel = channel
        self._lease = lease_seconds
        self._owner = f"{socket.gethostname()}:{os.getpid()}"
        self._claim, self._held, self._settle = (sql.format(schema=schema) for sql in (_CLAIM, _HELD, _SETTLE))
        self._drop_settled = _DROP_SETTLED.format(schema=schema)
        self._supersede = _SUPERSEDE.format(schema=schema, most=_MOST_FORMER)
        self._former, self._later = _FORMER.format(schema=schema), _LATER.format(schema=schema)

    async def claim(self, wanted: Sequence[ClaimWanted]) -> Sequence[ClaimFound]:
        """Claim what is free in one statement; a second one reads what others hold or have finished.

        A key that is wanted twice is claimed once: its double finds it held. What went out under a former generation is
        not claimed, nor what has a later one: of two generations at the same moment one at most is claimed.
        """
        first: dict[DeliveryKey, ClaimWanted] = {}
        for wish in wanted:
            first.setdefault((wish.notification_id, wish.generation), wish)
        await self._close_former(first)
        found = await self._formerly(first)
        free = [key for key in first if key not in found]
        ids, generations = [key[0] for key in free], [key[1] for key in free]
        flags = [first[key].at_most_once for key in free]
        rows = await self._database.fetch(self._claim, ids, generations, flags, self._channel, self._lease, self._owner)
        found |= {_key(row): _claimed(row) for row in rows}
        if others := [key for key in first if key not in found]:
            found |= await self._present(others) | await self._succeeded(others)
        return [
            found.get(key, HeldElsewhere(_MOMENT)) if first[key] is wish else HeldElsewhere(self._lease)
            for wish in wanted
            for key in [(wish.notification_id, wish.generation)]
        ]

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[bool]:
        """Write the outcomes of claims that are still ours; True for each that was written."""
        rows = await self._database.fetch(
            self._settle,
            [s.notification_id for s in settlements],
            [s.generation for s in settlements],
            [s.claim for s in settlements],
            [s.state for s in settlements],
            [s.provider for s in settlements],
            [s.provider_message_id for s in settlements],
            [s.reason for s in settlements],
            [s.error for s in settlements],
            [int(s.uncounted) for s in settlements],
            self._channel,
        )
        written = {tuple(row) for row in rows}
        return [(s.notification_id, s.generation, s.claim) in written for s in settlements]

    async def sent(self, keys: Sequence[DeliveryKey]) -> dict[DeliveryKey, AlreadySent]:
        """Those of them that have gone out, under this generation or a former one."""
        present = await self._formerly(keys) | await self._present(keys)
        return {key: found for key, found in present.items() if isinstance(found, AlreadySent)}

    async def drop_settled(self, *, older_than_days: int, limit: int) -> int:
        """Forget deliveries whose outcome is so old; how many. A live claim stays."""
        born_before = first_key_of(datetime.now(UTC) - timedelta(days=older_than_days))
        return len(await self._database.fetch(self._drop_settled, born_before, older_than_days, limit))

    async def _close_former(self, keys: Iterable[DeliveryKey]) -> None:
        """Committed before the claim, so that whoever wants a former generation from now on finds it closed."""
        if anew := [key for key in keys if key[1] > 0]:
            ids, generations = [key[0] for key in anew], [key[1] for key in anew]
            await self._database.execute(self._supersede, ids, generations, self._channel, self._lease, self._owner)

    async def _formerly(self, keys: Iterable[DeliveryKey]) -> dict[DeliveryKey, ClaimFound]:
        """What became of former generations, where that forbids to send; only what was queued anew has any."""
        anew = [key for key in keys if key[1] > 0]
        if not anew:
            return {}
        ids, generations = [key[0] for key in anew], [key[1] for key in anew]
        rows = await self._database.fetch(self._former, ids, generations, self._channel)
        return {_key(row): _held(row) for row in rows}

    async def _succeeded(self, keys: Sequence[DeliveryKey]) -> dict[DeliveryKey, ClaimFound]:
        """What became of later generations. What has not ended there is looked at again after a lease."""
        ids, generations = [key[0] for key in keys], [key[1] for key in keys]
        rows = await self._database.fetch(self._later, ids, generations, self._channel, self._lease)
        return {_key(row): _held(row) for row in rows}

    async def _present(self, keys: Sequence[DeliveryKey]) -> dict[DeliveryKey, ClaimFound]:
        ids, generations = [key[0] for key in keys], [key[1] for key in keys]
        return {
            _key(row): _held(row) for row in await self._database.fetch(self._held, ids, generations, self._channel)
        }


async def end_leases(database: Database, *, schema: str) -> None:
    """Let every claim lapse now: for the caller who knows that their holders are all dead."""
    await database.execute(_END_LEASES.format(schema=schema))


def _key(row: Row) -> DeliveryKey:
    return row["notification_id"], row["generation"]


def _claimed(row: Row) -> ClaimFound:
    if row["state"] == "failed":
        return AlreadyFailed(row["attempt"], row["provider"], row["reason"], row["error"])
    return Granted(row["attempt"], row["claim"], row["lapses"])


def _held(row: Row) -> ClaimFound:
    if row["state"] == "sent":
        return AlreadySent(row["attempt"], row["provider"], row["provider_message_id"], row["settled_at"])
    if row["state"] == "failed" and row["reason"] != _SUPERSEDED:
        return AlreadyFailed(row["attempt"], row["provider"], row["reason"], row["error"])
    return HeldElsewhere(max(row["remaining"], _MOMENT))
