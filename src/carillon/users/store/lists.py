"""Long lists, by key: people and audit events, the newest first. A page costs the same at every depth."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from carillon.contracts.people import User
from carillon.kit.database import Database, Row
from carillon.kit.http.paging import DEEPEST, Wanted
from carillon.kit.ids import first_key_of
from carillon.users.domain.audit import AuditEvent, AuditSearch
from carillon.users.domain.people import Search
from carillon.users.store.people import USER, user_of

# strpos and not LIKE: what is searched for is text, in which % and _ mean themselves.
_PEOPLE = """
users.users u WHERE u.status <> 'erased' AND ($1::text IS NULL OR u.status = $1)
AND ($2::text IS NULL OR strpos(u.email_key, $2) > 0)
AND ($3::text IS NULL OR strpos(lower(u.name), lower($3)) > 0)
AND ($4::text IS NULL OR EXISTS (
    SELECT 1 FROM users.user_roles ur JOIN users.roles r ON r.id = ur.role_id
    WHERE ur.user_id = u.id AND r.name = $4
))
"""
_PEOPLE_PAGE = f"""
{USER} WHERE u.id = ANY(ARRAY(
    SELECT u.id FROM {_PEOPLE} AND ($5::uuid IS NULL OR u.id < $5) ORDER BY u.id DESC LIMIT $6 OFFSET $7
)) ORDER BY u.id DESC
"""  # noqa: S608 - made of constants
_AUDIT = """
users.audit_events WHERE ($1::uuid IS NULL OR subject_id = $1) AND ($2::uuid IS NULL OR actor_id = $2)
AND ($3::text IS NULL OR action = $3) AND ($4::timestamptz IS NULL OR at >= $4)
AND ($5::timestamptz IS NULL OR at < $5) AND ($6::uuid IS NULL OR id >= $6) AND ($7::uuid IS NULL OR id < $7)
"""
_AUDIT_PAGE = f"""
SELECT id AS event_id, at, actor_id, action, subject_id, detail, correlation_id FROM {_AUDIT}
AND ($8::uuid IS NULL OR id < $8) ORDER BY id DESC LIMIT $9 OFFSET $10
"""  # noqa: S608 - made of constants
_SLACK = timedelta(hours=1)
"""A key is older than its row's time by the length of a transaction at most; keys narrow the search, times decide."""


class Lists:
    """Each answers up to `asked.fetched` rows, and how many there are: exact up to DEEPEST, DEEPEST + 1 for more."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def people(self, search: Search, asked: Wanted) -> tuple[list[User], int]:
        filters = (search.status, search.email, search.name, search.role)
        rows, total = await self._page(_PEOPLE, _PEOPLE_PAGE, filters, asked)
        return [user_of(row) for row in rows], total

    async def audit_events(self, search: AuditSearch, asked: Wanted) -> tuple[list[AuditEvent], int]:
        filters = (
            search.subject_id, search.actor_id, search.action, search.since, search.until,
            _bound(search.since, -_SLACK), _bound(search.until, _SLACK),
        )  # fmt: skip
        rows, total = await self._page(_AUDIT, _AUDIT_PAGE, filters, asked)
        return [AuditEvent(**dict(row)) for row in rows], total

    async def _page(self, all_of: str, page: str, filters: Sequence[Any], asked: Wanted) -> tuple[list[Row], int]:
        count = f"SELECT count(*) FROM (SELECT 1 FROM {all_of} LIMIT {DEEPEST + 1}) AS counted"  # noqa: S608 - of constants
        async with self._database.connection() as connection:
            total: int = await connection.fetchval(count, *filters)
            rows: list[Row] = await connection.fetch(page, *filters, asked.after, asked.fetched, asked.offset)
        return rows, total


def _bound(moment: datetime | None, slack: timedelta) -> UUID | None:
    if moment is None:
        return None
    try:
        return first_key_of(moment + slack)
    except (OverflowError, ValueError):  # before the first or after the last time that a key can carry
        return None
