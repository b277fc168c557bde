"""Every SQL statement of the templates service."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg
import msgspec

from carillon.contracts.channels import Channel
from carillon.contracts.templates import (
    Content,
    Publication,
    PublishedTemplate,
    Retry,
    Template,
    TemplateChanges,
    TemplateVersion,
    Variable,
)
from carillon.kit.database import Connection, Database, Row
from carillon.kit.ids import uuid7
from carillon.templates.actions import Draft, Filters

_TEMPLATE = """
    SELECT t.id, t.code, t.category, t.at_most_once, t.created_at, t.updated_at,
        (SELECT max(v.number) FROM templates.template_versions v WHERE v.template_id = t.id) AS version,
        (SELECT coalesce(json_agg(json_build_object('channel', p.channel, 'language', p.language,
                'version', v.number, 'published_at', p.published_at) ORDER BY p.channel, p.language), '[]')
            FROM templates.publications p JOIN templates.template_versions v ON v.id = p.version_id
            WHERE p.template_id = t.id) AS published
    FROM templates.templates t
"""
_LISTED = """
    ($1::text IS NULL OR EXISTS (
        SELECT FROM templates.template_versions v WHERE v.template_id = t.id AND v.channel = $1))
    AND ($2::text IS NULL OR t.category = $2)
    AND ($3::boolean IS NULL OR $3 = EXISTS (SELECT FROM templates.publications p
        WHERE p.template_id = t.id AND ($1::text IS NULL OR p.channel = $1)))
"""
_VERSION = """
    SELECT v.id, t.code, v.number, v.channel, v.language, v.content, v.variables, v.retry, v.created_by, v.created_at,
        EXISTS (SELECT FROM templates.publications p WHERE p.version_id = v.id) AS published
    FROM templates.template_versions v JOIN templates.templates t ON t.id = v.template_id
"""
_COUNT_VERSIONS = (
    "SELECT count(*) FROM templates.template_versions v JOIN templates.templates t ON t.id = v.template_id"
)
_AS_PUBLISHED = """
    SELECT t.code, v.channel, v.language, v.number, t.category, t.at_most_once, v.content, v.variables, v.retry
    FROM templates.templates t JOIN templates.template_versions v ON v.template_id = t.id
"""


class TemplateStore:
    """Rows become contracts here; a template's row is locked while its versions or publications change."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, code: str, category: str | None, draft: Draft, *, at_most_once: bool) -> Template | None:
        """A template with its version 1; None when the code is taken."""
        async with self._database.transaction() as connection:
            template_id = await _made(connection, code, category, at_most_once=at_most_once, by=draft.by)
            if template_id is None:
                return None
            await _add(connection, template_id, 1, draft)
            return _template(await connection.fetchrow(f"{_TEMPLATE} WHERE t.id = $1", template_id))

    async def create_published(self, code: str, drafts: Sequence[Draft]) -> bool:
        """A template with these versions, each published, at once or not at all; False when the code is taken."""
        async with self._database.transaction() as connection:
            template_id = await _made(connection, code, None, at_most_once=False, by=drafts[0].by)
            if template_id is None:
                return False
            for number, draft in enumerate(drafts, 1):
                await _add(connection, template_id, number, draft)
                await _point(connection, template_id, number, draft.by)
            return True

    async def add_version(self, code: str, draft: Draft) -> TemplateVersion | None:
        """The next version; None when there is no such template."""
        async with self._database.transaction() as connection:
            if (template_id := await _locked(connection, code)) is None:
                return None
            number = await connection.fetchval(
                "SELECT coalesce(max(number), 0) + 1 FROM templates.template_versions WHERE template_id = $1",
                template_id,
            )
            await _add(connection, template_id, number, draft)
            await _touch(connection, template_id)
            return _version(
                await connection.fetchrow(f"{_VERSION} WHERE v.template_id = $1 AND v.number = $2", template_id, number)
            )

    async def publish(self, code: str, number: int, by: UUID) -> TemplateVersion | None:
        """Point the version's channel and language at it; None when there is no such version."""
        async with self._database.transaction() as connection:
            if (template_id := await _locked(connection, code)) is None:
                return None
            if (version_id := await _point(connection, template_id, number, by)) is None:
                return None
            await _touch(connection, template_id)
            return _version(await connection.fetchrow(f"{_VERSION} WHERE v.id = $1", version_id))

    async def withdraw(self, code: str, channel: Channel, language: str) -> bool:
        """Nothing is published there any more; False when nothing was."""
        async with self._database.transaction() as connection:
            template_id = await connection.fetchval(
                "DELETE FROM templates.publications p USING templates.templates t"
                " WHERE t.id = p.template_id AND t.code = $1 AND p.channel = $2 AND p.language = $3 RETURNING t.id",
                *(code, channel, language),
            )
            if template_id is not None:
                await _touch(connection, template_id)
            return template_id is not None

    async def delete(self, code: str) -> bool:
        """Remove a template that is published nowhere, with its versions; False when it is published or not there."""
        async with self._database.transaction() as connection:
            if (template_id := await _locked(connection, code)) is None:
                return False
            done = await connection.fetchval(
                "DELETE FROM templates.templates t WHERE t.id = $1"
                " AND NOT EXISTS (SELECT FROM templates.publications p WHERE p.template_id = t.id) RETURNING t.id",
                template_id,
            )
            return done is not None

    async def change(self, code: str, changes: TemplateChanges) -> Template | None:
        given = msgspec.structs.asdict(changes)
        columns = {name: value for name, value in given.items() if value is not msgspec.UNSET}
        assignments = "".join(f", {name} = ${i}" for i, name in enumerate(columns, 2))
        await self._database.execute(
            f"UPDATE templates.templates SET updated_at = now(){assignments} WHERE code = $1",  # noqa: S608 - field names
            *(code, *columns.values()),
        )
        return await self.template(code)

    async def template(self, code: str) -> Template | None:
        row = await self._database.fetchrow(f"{_TEMPLATE} WHERE t.code = $1", code)
        return None if row is None else _template(row)

    async def templates(self, filters: Filters, *, limit: int, offset: int) -> tuple[list[Template], int]:
        """One page in the order of codes, and how many there are in all."""
        asked = (filters.channel, filters.category, filters.published)
        async with self._database.transaction() as connection:
            total = await connection.fetchval(f"SELECT count(*) FROM templates.templates t WHERE {_LISTED}", *asked)  # noqa: S608
            rows = await connection.fetch(
                f"{_TEMPLATE} WHERE {_LISTED} ORDER BY t.code LIMIT $4 OFFSET $5", *asked, limit, offset
            )
        return [_template(row) for row in rows], total

    async def version(self, code: str, number: int) -> TemplateVersion | None:
        row = await self._database.fetchrow(f"{_VERSION} WHERE t.code = $1 AND v.number = $2", code, number)
        return None if row is None else _version(row)

    async def versions(
        self, code: str, channel: Channel | None, language: str | None, *, limit: int, offset: int
    ) -> tuple[list[TemplateVersion], int]:
        """One page, newest first, and how many there are in all."""
        chosen = "t.code = $1 AND ($2::text IS NULL OR v.channel = $2) AND ($3::text IS NULL OR v.language = $3)"
        async with self._database.transaction() as connection:
            total = await connection.fetchval(
                f"{_COUNT_VERSIONS} WHERE {chosen}",
                *(code, channel, language),
            )
            rows = await connection.fetch(
                f"{_VERSION} WHERE {chosen} ORDER BY v.number DESC LIMIT $4 OFFSET $5",
                *(code, channel, language, limit, offset),
            )
        return [_version(row) for row in rows], total

    async def published(self, code: str, channel: Channel, languages: Sequence[str]) -> PublishedTemplate | None:
        """What is published in the first of these languages that has anything."""
        row = await self._database.fetchrow(
            f"{_AS_PUBLISHED} JOIN templates.publications p ON p.version_id = v.id"
            " WHERE t.code = $1 AND v.channel = $2 AND v.language = ANY($3)"
            " ORDER BY array_position($3::text[], v.language) LIMIT 1",
            *(code, channel, list(languages)),
        )
        return None if row is None else _as_published(row)

    async def as_published(
        self, code: str, *, number: int | None = None, channel: Channel | None = None, language: str | None = None
    ) -> PublishedTemplate | None:
        """A version in the shape of a published one: that of this number, or the newest that fits."""
        row = await self._database.fetchrow(
            f"{_AS_PUBLISHED} WHERE t.code = $1 AND ($2::int IS NULL OR v.number = $2)"
            " AND ($3::text IS NULL OR v.channel = $3) AND ($4::text IS NULL OR v.language = $4)"
            " ORDER BY v.number DESC LIMIT 1",
            *(code, number, channel, language),
        )
        return None if row is None else _as_published(row)

    async def is_empty(self) -> bool:
        return not await self._database.fetchval("SELECT EXISTS (SELECT FROM templates.templates)")


async def _locked(connection: Connection, code: str) -> UUID | None:
    found: UUID | None = await connection.fetchval(
        "SELECT id FROM templates.templates WHERE code = $1 FOR UPDATE", code
    )
    return found


async def _made(
    connection: Connection, code: str, category: str | None, *, at_most_once: bool, by: UUID
) -> UUID | None:
    template_id: UUID | None = await connection.fetchval(
        "INSERT INTO templates.templates (id, code, category, at_most_once, created_by)"
        " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (code) DO NOTHING RETURNING id",
        *(uuid7(), code, category, at_most_once, by),
    )
    return template_id


async def _point(connection: Connection, template_id: UUID, number: int, by: UUID) -> UUID | None:
    """Lead the channel and language of a version to it; its id, or None when there is none of this number."""
    version_id: UUID | None = await connection.fetchval(
        "INSERT INTO templates.publications (template_id, channel, language, version_id, published_by)"
        " SELECT template_id, channel, language, id, $3 FROM templates.template_versions"
        " WHERE template_id = $1 AND number = $2"
        " ON CONFLICT (template_id, channel, language) DO UPDATE"
        " SET version_id = excluded.version_id, published_by = excluded.published_by, published_at = now()"
        " RETURNING version_id",
        *(template_id, number, by),
    )
    return version_id


async def _touch(connection: Connection, template_id: UUID) -> None:
    await connection.execute("UPDATE templates.templates SET updated_at = now() WHERE id = $1", template_id)


async def _add(connection: Connection, template_id: UUID, number: int, draft: Draft) -> None:
    content = {name: text for name, text in msgspec.structs.asdict(draft.content).items() if text is not None}
    await connection.execute(
        "INSERT INTO templates.template_versions"
        " (id, template_id, number, channel, language, content, variables, retry, created_by)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        *(uuid7(), template_id, number, draft.channel, draft.language, content, draft.variables, draft.retry, draft.by),
    )


def _template(row: Row | None) -> Template:
    assert row is not None
    named = {name: row[name] for name in ("code", "category", "at_most_once", "version", "created_at", "updated_at")}
    return Template(template_id=row["id"], published=msgspec.convert(row["published"], list[Publication]), **named)


def _version(row: asyncpg.Record | None) -> TemplateVersion:
    assert row is not None
    named = {name: row[name] for name in ("code", "channel", "language", "published", "created_by", "created_at")}
    return TemplateVersion(
        version_id=row["id"],
        version=row["number"],
        variables=_variables(row),
        retry=_retry(row),
        **named,
        **row["content"],
    )


def _as_published(row: Row) -> PublishedTemplate:
    named = {name: row[name] for name in ("code", "channel", "language", "category", "at_most_once")}
    return PublishedTemplate(
        version=row["number"],
        content=Content(**row["content"]),
        variables=_variables(row),
        retry=_retry(row),
        **named,
    )


def _variables(row: Row) -> dict[str, Variable]:
    return msgspec.convert(row["variables"], dict[str, Variable])


def _retry(row: Row) -> Retry | None:
    return msgspec.convert(row["retry"], Retry | None)
