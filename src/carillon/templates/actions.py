"""What the templates service does: one async function each; the store is a port."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from carillon.contracts.channels import Channel
from carillon.contracts.rendering import (
    CompiledTemplates,
    MissingVariable,
    RenderFailed,
    missing_variables,
    render_content,
)
from carillon.contracts.templates import (
    Content,
    Preview,
    PreviewAsked,
    PublishedTemplate,
    Retry,
    Template,
    TemplateChanges,
    TemplateToMake,
    TemplateVersion,
    Variable,
    VersionToMake,
)
from carillon.templates.account import ACCOUNT
from carillon.templates.demo import WELCOME, WELCOME_PUSH
from carillon.templates.domain import canonical, content_of, fallbacks, problems_of
from carillon.templates.errors import (
    BrokenContent,
    CodeTaken,
    NotPublished,
    StillPublished,
    TemplateNotFound,
    VersionNotFound,
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A version about to be kept: checked, its language in the one spelling."""

    channel: Channel
    language: str
    content: Content
    variables: dict[str, Variable]
    by: UUID
    retry: Retry | None = None


@dataclass(frozen=True, slots=True)
class Filters:
    """What a list of templates is narrowed to; `published` speaks of the channel where one is given."""

    channel: Channel | None = None
    category: str | None = None
    published: bool | None = None


class Templates(Protocol):
    """What is kept; None and False stand for what is not there."""

    async def create(self, code: str, category: str | None, draft: Draft, *, at_most_once: bool) -> Template | None: ...

    async def create_published(self, code: str, drafts: Sequence[Draft]) -> bool: ...

    async def add_version(self, code: str, draft: Draft) -> TemplateVersion | None: ...

    async def publish(self, code: str, number: int, by: UUID) -> TemplateVersion | None: ...

    async def withdraw(self, code: str, channel: Channel, language: str) -> bool: ...

    async def delete(self, code: str) -> bool: ...

    async def change(self, code: str, changes: TemplateChanges) -> Template | None: ...

    async def template(self, code: str) -> Template | None: ...

    async def templates(self, filters: Filters, *, limit: int, offset: int) -> tuple[list[Template], int]: ...

    async def version(self, code: str, number: int) -> TemplateVersion | None: ...

    async def versions(
        self, code: str, channel: Channel | None, language: str | None, *, limit: int, offset: int
    ) -> tuple[list[TemplateVersion], int]: ...

    async def published(self, code: str, channel: Channel, languages: Sequence[str]) -> PublishedTemplate | None: ...

    async def as_published(
        self, code: str, *, number: int | None = None, channel: Channel | None = None, language: str | None = None
    ) -> PublishedTemplate | None: ...

    async def is_empty(self) -> bool: ...


async def create(store: Templates, given: TemplateToMake, *, by: UUID, default_language: str) -> Template:
    """A template and its version 1. Raises BrokenContent, CodeTaken."""
    draft = _draft(given, by, default_language)
    made = await store.create(given.code, given.category, draft, at_most_once=given.at_most_once)
    if made is None:
        raise CodeTaken(given.code)
    return made


async def add_version(
    store: Templates, code: str, given: VersionToMake, *, by: UUID, default_language: str
) -> TemplateVersion:
    """The next version, not yet published. Raises BrokenContent, TemplateNotFound."""
    made = await store.add_version(code, _draft(given, by, default_language))
    if made is None:
        raise TemplateNotFound(code)
    return made


async def publish(store: Templates, code: str, number: int, *, by: UUID) -> TemplateVersion:
    """What this version's channel and language get from now on; an older one rolls back. Raises VersionNotFound."""
    published = await store.publish(code, number, by)
    if published is None:
        raise await _which_is_missing(store, code, str(number))
    return published


async def withdraw(store: Templates, code: str, channel: Channel, language: str) -> Template:
    """Publish nothing there any more; the versions stay. Raises TemplateNotFound, NotPublished."""
    exact = canonical(language)
    if not await store.withdraw(code, channel, exact):
        await template(store, code)
        raise NotPublished(code, channel, [exact])
    return await template(store, code)


async def delete(store: Templates, code: str) -> None:
    """Remove a template with all its versions. Raises TemplateNotFound, StillPublished."""
    if await store.delete(code):
        return
    places = [f"{p.channel} in {p.language}" for p in (await template(store, code)).published]
    raise StillPublished(code, ", ".join(places))


async def change(store: Templates, code: str, changes: TemplateChanges) -> Template:
    """Category and `at_most_once`; words change by a new version. Raises TemplateNotFound."""
    changed = await store.change(code, changes)
    if changed is None:
        raise TemplateNotFound(code)
    return changed


async def template(store: Templates, code: str) -> Template:
    """Raises TemplateNotFound."""
    found = await store.template(code)
    if found is None:
        raise TemplateNotFound(code)
    return found


async def version(store: Templates, code: str, number: int) -> TemplateVersion:
    """Raises TemplateNotFound, VersionNotFound."""
    found = await store.version(code, number)
    if found is None:
        raise await _which_is_missing(store, code, str(number))
    return found


async def versions(
    store: Templates, code: str, channel: Channel | None, language: str | None, *, limit: int, page: int
) -> tuple[list[TemplateVersion], int]:
    """One page, newest first, and the total. Raises TemplateNotFound."""
    exact = None if language is None else canonical(language)
    found, total = await store.versions(code, channel, exact, limit=limit, offset=(page - 1) * limit)
    if not total:
        await template(store, code)
    return found, total


async def published(
    store: Templates, code: str, channel: Channel, language: str | None, *, default_language: str
) -> PublishedTemplate:
    """What this channel gets in this language or its nearest fallback. Raises TemplateNotFound, NotPublished."""
    languages = fallbacks(language, default_language)
    found = await store.published(code, channel, languages)
    if found is None:
        await template(store, code)
        raise NotPublished(code, channel, languages)
    return found


async def preview(
    store: Templates, code: str, asked: PreviewAsked, *, default_language: str, cache: CompiledTemplates
) -> Preview:
    """Render as a delivery would, and name every missing variable. Raises TemplateNotFound, VersionNotFound."""
    chosen = await _chosen(store, code, asked, default_language)
    rendered, missing, error = _attempt(chosen, asked, cache)
    return Preview(
        code=chosen.code,
        version=chosen.version,
        channel=chosen.channel,
        language=chosen.language,
        rendered=rendered,
        missing=missing,
        error=error,
    )


def _attempt(
    chosen: PublishedTemplate, asked: PreviewAsked, cache: CompiledTemplates
) -> tuple[Content | None, list[str], str | None]:
    try:
        return render_content(chosen, asked.variables, cache=cache), [], None
    except MissingVariable as error:
        try:
            missing = missing_variables(chosen, asked.variables, cache=cache) or [error.name]
        except RenderFailed:
            missing = [error.name]
        return None, missing, str(error)
    except RenderFailed as error:
        return None, [], str(error)


async def _chosen(store: Templates, code: str, asked: PreviewAsked, default_language: str) -> PublishedTemplate:
    if asked.version is not None:
        found = await store.as_published(code, number=asked.version)
        if found is None:
            raise await _which_is_missing(store, code, str(asked.version))
        return found
    channels: list[Channel] = ["email", "push"] if asked.channel is None else [asked.channel]
    for channel in channels:
        if found := await store.published(code, channel, fallbacks(asked.language, default_language)):
            return found
    exact = None if asked.language is None else canonical(asked.language)
    found = await store.as_published(code, channel=asked.channel, language=exact)
    if found is None:
        wanted = " and ".join(filter(None, (asked.channel and f"for {asked.channel}", exact and f"in {exact}")))
        raise await _which_is_missing(store, code, wanted)
    return found


async def seed(store: Templates, *, by: UUID) -> None:
    """Publish the demo templates where there is no template at all; safe when several processes start at once."""
    if not await store.is_empty():
        return
    await store.create_published(WELCOME.code, [_draft(given, by, "en") for given in (WELCOME, WELCOME_PUSH)])


async def seed_account_mails(store: Templates, *, by: UUID) -> None:
    """Publish what the mails about accounts say, each where there is no template of its code."""
    for given in ACCOUNT:
        await store.create_published(given.code, [_draft(given, by, "en")])


async def _which_is_missing(store: Templates, code: str, wanted: str) -> TemplateNotFound | VersionNotFound:
    return TemplateNotFound(code) if await store.template(code) is None else VersionNotFound(code, wanted)


def _draft(given: VersionToMake, by: UUID, default_language: str) -> Draft:
    content = content_of(given)
    if problems := problems_of(given.channel, content):
        raise BrokenContent(problems)
    language = canonical(given.language or default_language)
    return Draft(given.channel, language, content, given.variables, by, given.retry)
