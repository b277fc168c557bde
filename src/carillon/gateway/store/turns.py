"""The claim of the outbox while more waits than is taken at once: lane by lane, in each the callers by turns."""

from typing import Final

_LAST: Final = "'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid"
_WAITS: Final = "available_at <= now() AND (lease_until IS NULL OR lease_until < now())"

# Callers are found by one look at the index each, however much each of them has, after `past` first and then from the
# start. Each has a share of the room; what some leave of theirs goes to those who have more.
TAKE_TURNS: Final = f"""
WITH RECURSIVE turns AS (
    SELECT n, queue, lane, room, past, past AS caller_id, 0 AS turn, {_LAST} AS upto
    FROM unnest($1::text[], $2::integer[], $3::integer[], $4::uuid[]) WITH ORDINALITY AS a (queue, lane, room, past, n)
    UNION ALL
    SELECT t.n, t.queue, t.lane, t.room, t.past, next.caller_id, t.turn + 1, next.upto
    FROM turns t CROSS JOIN LATERAL (
        (SELECT o.caller_id, t.upto FROM gateway.outbox o
         WHERE o.queue = t.queue AND o.caller_id > t.caller_id AND o.caller_id <= t.upto
         ORDER BY o.caller_id LIMIT 1)
        UNION ALL
        (SELECT o.caller_id, t.past FROM gateway.outbox o
         WHERE t.upto > t.past AND o.queue = t.queue AND o.caller_id <= t.past
         ORDER BY o.caller_id LIMIT 1)
        LIMIT 1
    ) next
), shares AS MATERIALIZED (
    SELECT n, queue, lane, room, caller_id, turn, ceil(room::float8 / count(*) OVER (PARTITION BY n))::integer AS share
    FROM turns WHERE turn > 0
), taken AS MATERIALIZED (
    SELECT s.*, ARRAY(
        SELECT o.notification_id FROM gateway.outbox o
        WHERE o.queue = s.queue AND o.caller_id = s.caller_id AND {_WAITS}
        ORDER BY o.available_at LIMIT s.share FOR UPDATE SKIP LOCKED
    ) AS ids
    FROM shares s
), left_over AS MATERIALIZED (
    SELECT *, room - sum(cardinality(ids)) OVER (PARTITION BY n) AS rest,
        count(*) FILTER (WHERE cardinality(ids) = share) OVER (PARTITION BY n) AS hungry
    FROM taken
), chosen AS (
    SELECT n, lane, room, turn, one.id, one.nth
    FROM left_over l CROSS JOIN LATERAL unnest(
        l.ids || CASE WHEN l.rest > 0 AND cardinality(l.ids) = l.share THEN ARRAY(
            SELECT o.notification_id FROM gateway.outbox o
            WHERE o.queue = l.queue AND o.caller_id = l.caller_id AND {_WAITS}
            ORDER BY o.available_at OFFSET l.share LIMIT ceil(l.rest::float8 / l.hungry) FOR UPDATE SKIP LOCKED
        ) END
    ) WITH ORDINALITY AS one (id, nth)
), fitting AS (
    SELECT id, lane, room, row_number() OVER (PARTITION BY n ORDER BY nth, turn) AS place FROM chosen
)
UPDATE gateway.outbox
SET lease_until = now() + $6 * interval '1 second', maybe_sent = maybe_sent OR lease_until IS NOT NULL
WHERE notification_id = ANY(ARRAY(
    SELECT id FROM fitting WHERE place <= room ORDER BY lane, place LIMIT $5
))
RETURNING notification_id, generation, queue, correlation_id, body, lease_until, caller_id
"""  # noqa: S608 - a constant of ours
