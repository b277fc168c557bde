"""Asking the templates service what is published: revalidated by ETag, served stale while the service is away."""

from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import msgspec

from carillon.contracts.channels import Channel
from carillon.contracts.templates import PublishedTemplate
from carillon.kit.cache import Cache, Found
from carillon.kit.http.client import Answer, ServiceClient, ServiceUnavailable, refused
from carillon.kit.http.envelope import Envelope

_NOT_MODIFIED, _NOT_FOUND, _FAILURE = 304, 404, 400
_UNPUBLISHED = frozenset({"template_not_found", "template_not_published"})
"""The templates service's own words; any other 404 comes from somebody else at its address, and says nothing."""


class _Wanted(NamedTuple):
    code: str
    channel: Channel
    language: str | None


class _Kept(NamedTuple):
    published: PublishedTemplate
    etag: str | None


class TemplatesClient:
    """A publication takes effect within `fresh_seconds`; cached versions serve up to `stale_seconds`."""

    def __init__(
        self,
        client: ServiceClient,
        *,
        fresh_seconds: float = 5,
        stale_seconds: float = 86_400,
        service: str = "",
    ) -> None:
        self._client = client
        self._cache: Cache[_Wanted, _Kept | None] = Cache(
            service=service,
            name="templates",
            fresh_seconds=fresh_seconds,
            stale_seconds=stale_seconds,
            capacity=2_000,
            away=(ServiceUnavailable,),
        )

    async def published(self, code: str, channel: Channel, language: str | None) -> PublishedTemplate | None:
        """None: nothing is published there, fallbacks included. Raises ServiceUnavailable when nobody can tell."""
        return (await self.look_up(code, channel, language)).value

    def remembered(self, code: str, channel: Channel, language: str | None) -> PublishedTemplate | None:
        """The template where nobody needs to be asked, without a pause."""
        kept = self._cache.fresh(_Wanted(code, channel, language))
        return kept.published if kept else None

    async def look_up(self, code: str, channel: Channel, language: str | None) -> Found[PublishedTemplate | None]:
        """As `published`, and whether it was asked for just now, remembered, or is stale."""
        wanted = _Wanted(code, channel, language)
        found = await self._cache.get(wanted, lambda: self._ask(wanted))
        return Found(found.value.published if found.value else None, found.source)

    async def preview(
        self, code: str, variables: dict[str, Any], *, channel: Channel, language: str | None = None
    ) -> dict[str, Any]:
        """The templates service's own rendering. Raises ServiceUnavailable, ServiceRefused."""
        body = {"variables": variables, "channel": channel, **({"language": language} if language else {})}
        path = f"/api/v1/templates/{quote(code, safe='')}/preview"
        return await self._client.data("POST", path, dict[str, Any], body=body)

    async def _ask(self, wanted: _Wanted) -> _Kept | None:
        known = self._cache.peek(wanted)
        answer = await self._client.call(
            "GET", _path(wanted), headers={"If-None-Match": known.etag} if known and known.etag else None
        )
        if answer.status == _NOT_MODIFIED and known:
            return known
        if answer.status == _NOT_FOUND and refused(answer).code in _UNPUBLISHED:
            return None
        return _Kept(_decoded(answer), answer.headers.get("ETag"))


def _path(wanted: _Wanted) -> str:
    query = {"channel": wanted.channel, **({"language": wanted.language} if wanted.language else {})}
    return f"/api/v1/templates/{quote(wanted.code, safe='')}/published?{urlencode(query)}"


def _decoded(answer: Answer) -> PublishedTemplate:
    """What says nothing about the template (401, 403, another shape) counts as nobody there to tell."""
    if answer.status >= _FAILURE:
        refusal = refused(answer)
        raise ServiceUnavailable(f"templates refused our question: {refusal.status} {refusal.code}")
    try:
        return msgspec.json.decode(answer.body, type=Envelope[PublishedTemplate]).data
    except msgspec.DecodeError as error:
        raise ServiceUnavailable("templates answered something else than a template") from error
