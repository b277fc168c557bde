"""Who a broadcast is for: people by their attributes, in the order of their ids, a bounded number looked at."""

from uuid import UUID

import msgspec

from carillon.contracts.audiences import AudienceFilter, AudiencePage
from carillon.kit.database import Database

# The rows are fetched before any is judged: a filter that fits nobody costs no more than one that fits all.
_SEEN = """
WITH seen AS MATERIALIZED (
    SELECT u.id, u.status = 'active' AND u.attributes @> $2::text::jsonb AND (
        $3::text IS NULL OR lower(u.locale) = lower($3) OR starts_with(lower(u.locale), lower($3) || '-')
    ) AS fits
    FROM users.users u WHERE u.id > $1 ORDER BY u.id LIMIT $4
)
"""
_PAGE = f"""
{_SEEN}
SELECT ARRAY(SELECT id FROM seen WHERE fits ORDER BY id) AS ids,
       (SELECT id FROM seen ORDER BY id OFFSET $4 - 1 LIMIT 1) AS last
"""  # noqa: S608 - made of constants
_COUNT = f"""
{_SEEN}
SELECT (SELECT count(*) FROM seen WHERE fits) AS found, (SELECT id FROM seen ORDER BY id OFFSET $4 - 1 LIMIT 1) AS last
"""  # noqa: S608 - made of constants
_BEFORE_ALL = UUID(int=0)


class Audiences:
    """Looks at `most` people from `after` on, whether they fit or not; whoever comes to be behind it is not met."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, wanted: AudienceFilter, *, after: UUID | None, most: int) -> AudiencePage:
        row = await self._database.fetchrow(_PAGE, after or _BEFORE_ALL, *_columns(wanted), most)
        assert row is not None, "it has no FROM"
        return AudiencePage(len(row["ids"]), list(row["ids"]), row["last"])

    async def count(self, wanted: AudienceFilter, *, after: UUID | None, most: int) -> AudiencePage:
        """The same, without the ids."""
        row = await self._database.fetchrow(_COUNT, after or _BEFORE_ALL, *_columns(wanted), most)
        assert row is not None, "it has no FROM"
        return AudiencePage(row["found"], [], row["last"])


def _columns(wanted: AudienceFilter) -> tuple[str, str | None]:
    return msgspec.json.encode(wanted.attributes).decode(), wanted.locale
