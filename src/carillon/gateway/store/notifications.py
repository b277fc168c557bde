"""Reading notifications: ownership is part of every question."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from carillon.contracts.messages import Step
from carillon.contracts.notifications import Notification
from carillon.gateway.domain import Known, Wanted, key_from
from carillon.gateway.store.session import STAGE
from carillon.kit.database import Database, Row

_COLUMNS = f"""
n.id, n.request_id, n.channel, n.user_id, n.template_code, n.priority, n.category, n.status, {STAGE}, n.attempts,
n.reason, n.error, n.metadata, n.correlation_id, n.created_at, n.updated_at, n.send_at, n.expires_at, n.generation,
n.rank
"""

ONE = f"""
SELECT {_COLUMNS} FROM gateway.notifications n WHERE n.id = $1 AND ($2::uuid IS NULL OR n.caller_id = $2)
"""  # noqa: S608 - constants of ours, here and below

OF_REQUEST = f"""
SELECT {_COLUMNS} FROM gateway.notifications n
WHERE n.id = (SELECT notification_id FROM gateway.idempotency_keys WHERE caller_id = $1 AND request_id = $2)
"""  # noqa: S608

STEPS = """
SELECT key, kind, at, reason, attempt, provider, detail FROM gateway.notification_events WHERE notification_id = $1
"""

# Keys first, from the index alone; whole rows only for the page.
_PAGE = """
SELECT {columns} FROM gateway.notifications n
WHERE n.id = ANY(ARRAY(
    SELECT f.id FROM gateway.notifications f WHERE {conditions} ORDER BY f.id DESC LIMIT $1 OFFSET $2
))
ORDER BY n.id DESC
"""
_COUNT = "SELECT count(*) FROM gateway.notifications f WHERE {conditions}"


class Notifications:
    """Answers questions; changes nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ping(self) -> None:
        """Raises while the database is away or its tables are missing."""
        await self._database.execute("SELECT FROM gateway.notifications LIMIT 0")

    async def one(self, notification_id: UUID, *, owner: UUID | None) -> Known | None:
        """`owner` None: whoever sent it."""
        row = await self._database.fetchrow(ONE, notification_id, owner)
        return None if row is None else _known(row)

    async def of_request(self, caller_id: UUID, request_id: str) -> Known | None:
        row = await self._database.fetchrow(OF_REQUEST, caller_id, request_id)
        return None if row is None else _known(row)

    async def steps(self, notification_id: UUID) -> list[Step]:
        """In no order."""
        rows = await self._database.fetch(STEPS, notification_id)
        return [Step(**dict(row)) for row in rows]

    async def page(self, wanted: Wanted, *, limit: int, offset: int) -> tuple[list[Notification], int]:
        """The newest first, and how many there are in all."""
        given = _conditions(wanted)
        values = [value for _, value in given]
        rows = await self._database.fetch(
            _PAGE.format(columns=_COLUMNS, conditions=_sql(given, first=3)), limit, offset, *values
        )
        total = await self._database.fetchval(_COUNT.format(conditions=_sql(given, first=1)), *values)
        return [_known(row).notification for row in rows], int(total)


def _conditions(wanted: Wanted) -> Sequence[tuple[str, Any]]:
    offered = (
        ("f.caller_id = ${}", wanted.caller_id),
        ("f.user_id = ${}", wanted.user_id),
        ("f.status = ${}", wanted.status),
        ("f.channel = ${}", wanted.channel),
        ("f.template_code = ${}", wanted.template_code),
        ("f.broadcast_id = ${}", wanted.broadcast_id),
        ("f.id >= ${}", wanted.created_from and key_from(wanted.created_from)),
        ("f.id < ${}", wanted.created_to and key_from(wanted.created_to)),
    )
    return [(sql, value) for sql, value in offered if value is not None]


def _sql(conditions: Sequence[tuple[str, Any]], *, first: int) -> str:
    return " AND ".join(sql.format(number) for number, (sql, _) in enumerate(conditions, first)) or "true"


def _known(row: Row) -> Known:
    notification = Notification(
        notification_id=row["id"],
        request_id=row["request_id"],
        notification_type=row["channel"],
        user_id=row["user_id"],
        template_code=row["template_code"],
        priority=row["priority"],
        category=row["category"],
        status=row["status"],
        stage=row["stage"],
        attempts=row["attempts"],
        reason=row["reason"],
        error=row["error"],
        metadata=row["metadata"],
        correlation_id=row["correlation_id"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        send_at=row["send_at"],
        expires_at=row["expires_at"],
    )
    return Known(notification, row["generation"], row["rank"])
