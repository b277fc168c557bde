"""Cancelling: the outbox row goes and the notification ends, in one statement; what a relay has had is not touched."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from carillon.contracts.messages import Step
from carillon.contracts.statuses import RANK_CANCELLED
from carillon.kit.database import Database

# Whoever comes second waits for the row of the outbox and looks at it again: a relay that has leased it keeps it, and
# one that finds it locked or gone leaves it. A row that a relay has had once may be with the broker, a later generation
# follows a message that is: neither can be taken back.
CANCEL = """
WITH pending AS MATERIALIZED (
    SELECT n.id FROM gateway.notifications n
    WHERE n.id = ANY($1::uuid[]) AND n.status = 'pending' AND ($2::uuid IS NULL OR n.caller_id = $2)
    ORDER BY n.id FOR NO KEY UPDATE
), gone AS (
    DELETE FROM gateway.outbox o
    WHERE o.notification_id = ANY(ARRAY(SELECT id FROM pending))
      AND o.lease_until IS NULL AND NOT o.maybe_sent AND o.generation = 0
    RETURNING o.notification_id AS id
), ended AS (
    UPDATE gateway.notifications n
    SET status = 'cancelled', stage = NULL, rank = $3, reason = $6, next_expected_at = NULL, updated_at = now()
    WHERE n.id = ANY(ARRAY(SELECT id FROM gone))
), noted AS (
    INSERT INTO gateway.notification_events (notification_id, key, kind, at, reason, detail)
    SELECT id, $4, 'cancelled', $5, $6, $7::json FROM gone
    ON CONFLICT DO NOTHING
)
SELECT id FROM gone
"""


class Cancellations:
    """Takes back what nobody else has had."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def cancel(self, notification_ids: Sequence[UUID], step: Step, *, owner: UUID | None) -> set[UUID]:
        """Those that are cancelled by this, and will not be sent. `owner` None: whoever sent them."""
        told: tuple[Any, ...] = (RANK_CANCELLED, step.key, step.at, step.reason, step.detail)
        return {row[0] for row in await self._database.fetch(CANCEL, list(notification_ids), owner, *told)}
