"""The history of consent: one row per change, written in the transaction of the change."""

from datetime import datetime
from uuid import UUID

import msgspec

from carillon.contracts.people import Preferences
from carillon.contracts.preferences import Choices
from carillon.kit.database import Connection, Database, Row
from carillon.kit.ids import uuid7
from carillon.kit.telemetry import correlation
from carillon.users.domain.preferences import ChangeSource, PreferenceChange, agreed, choices_of

# The clock and not now(): changes of one user wait for each other, and a transaction's time is that of its begin.
_ADD = """
INSERT INTO users.preference_changes
    (id, user_id, at, actor_id, session_id, source, preferences, version, correlation_id)
VALUES ($1, $2, clock_timestamp(), $3, $4, $5, $6, $7, $8)
"""
_OF_USER = """
FROM users.preference_changes c JOIN users.users u ON u.id = c.user_id
WHERE c.user_id = $1 AND (u.id = $2 OR $3) AND u.status <> 'erased'
"""
_COUNT = f"SELECT count(*) {_OF_USER}"
_PAGE = f"""
SELECT c.id, c.at, c.actor_id, c.session_id, c.source, c.preferences, c.version, c.correlation_id {_OF_USER}
ORDER BY c.at DESC, c.version DESC LIMIT $4 OFFSET $5
"""
_AS_OF = f"""
SELECT c.preferences, c.version {_OF_USER} AND c.at <= $4 ORDER BY c.at DESC, c.version DESC LIMIT 1
"""


class ConsentHistory:
    """What a user agreed to over time, for those who may see that user."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, user_id: UUID, *, seen_by: UUID, sees_all: bool, limit: int, offset: int
    ) -> tuple[list[PreferenceChange], int]:
        """The newest first, and how many there are; none for a user that there is not."""
        seen = (user_id, seen_by, sees_all)
        async with self._database.transaction() as connection:
            total: int = await connection.fetchval(_COUNT, *seen)
            rows = await connection.fetch(_PAGE, *seen, limit, offset)
        return [_change(row) for row in rows], total

    async def as_of(self, user_id: UUID, at: datetime, *, seen_by: UUID, sees_all: bool) -> Preferences | None:
        """What had been agreed to by then; None before the first change."""
        row = await self._database.fetchrow(_AS_OF, user_id, seen_by, sees_all, at)
        return None if row is None else agreed(choices_of(row["preferences"]), row["version"])


async def remember(
    connection: Connection,
    user_id: UUID,
    choices: Choices,
    *,
    source: ChangeSource,
    actor_id: UUID | None,
    version: int,
    session_id: UUID | None = None,
) -> None:
    """Write down what a user agreed to by this change."""
    state = msgspec.to_builtins(choices)
    await connection.execute(
        _ADD, uuid7(), user_id, actor_id, session_id, source, state, version, correlation.current()
    )


def _change(row: Row) -> PreferenceChange:
    return PreferenceChange(
        change_id=row["id"],
        at=row["at"],
        source=row["source"],
        actor_id=row["actor_id"],
        session_id=row["session_id"],
        correlation_id=row["correlation_id"],
        preferences=agreed(choices_of(row["preferences"]), row["version"]),
    )
