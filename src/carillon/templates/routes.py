"""HTTP of the templates service: parse, call one action, render."""

import hashlib
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
from litestar import Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery, HeaderParameter, JSONBody, PathParameter, QueryParameter

from carillon.contracts.channels import Channel
from carillon.contracts.rendering import CompiledTemplates
from carillon.contracts.templates import (
    CATEGORY,
    LANGUAGE,
    LARGEST_NUMBER,
    Preview,
    PreviewAsked,
    PublishedTemplate,
    Template,
    TemplateChanges,
    TemplateToMake,
    TemplateVersion,
    VersionToMake,
)
from carillon.kit.errors import Forbidden
from carillon.kit.http.access import ApiRequest
from carillon.kit.http.envelope import Envelope, page_of
from carillon.kit.http.paging import Page, PageSize
from carillon.kit.http.routing import endpoint
from carillon.templates import actions
from carillon.templates.account import CODES
from carillon.templates.actions import Filters, Templates

READ, WRITE, TAG = "templates:read", "templates:write", "templates"
WRITE_ACCOUNT: Final = "templates:account"
"""Beside WRITE, for mails whose links open accounts: an image or a link in them can carry the secret away."""
_ONE: Final = "/templates/{code:str}"
_VERSION: Final = "/templates/{code:str}/versions/{number:int}"

Code = Annotated[str, PathParameter(pattern=r"\A[^\x00]*\Z", max_length=200)]
Number = Annotated[int, PathParameter(ge=1, le=LARGEST_NUMBER)]
InCategory = Annotated[str | None, QueryParameter(pattern=CATEGORY)]
InLanguage = Annotated[str | None, QueryParameter(pattern=LANGUAGE, description="BCP 47, e.g. `pt-BR`")]
ExactLanguage = Annotated[str, QueryParameter(pattern=LANGUAGE, description="BCP 47; nothing falls back here")]


@dataclass(frozen=True, slots=True)
class Room:
    """What the routes work with."""

    store: Templates
    cache: CompiledTemplates
    default_language: str


def _room(request: ApiRequest) -> Room:
    room: Room = request.app.state.room
    return room


def _to_write(request: ApiRequest, code: str) -> Room:
    """The room, for who may change the template of this code. Raises Forbidden."""
    if code in CODES and not request.auth.may(WRITE_ACCOUNT):
        raise Forbidden(f"Mails of accounts carry secrets: changing their templates needs {WRITE_ACCOUNT} too.")
    return _room(request)


@endpoint(
    "POST", "/templates", needs=WRITE, says="Make a template and its version 1", status=201, errors=(409,), tag=TAG
)
async def create(request: ApiRequest, data: JSONBody[TemplateToMake]) -> Envelope[Template]:
    room = _to_write(request, data.code)
    made = await actions.create(room.store, data, by=request.auth.caller_id, default_language=room.default_language)
    return Envelope(made, f"made; publish it: POST /api/v1/templates/{made.code}/versions/1/publish")


@endpoint("GET", "/templates", needs=READ, says="List templates", tag=TAG)
async def list_templates(
    request: ApiRequest,
    channel: FromQuery[Channel | None] = None,
    category: InCategory = None,
    published: FromQuery[bool | None] = None,
    page: Page = 1,
    limit: PageSize = 20,
) -> Envelope[list[Template]]:
    filters = Filters(channel, category, published)
    found, total = await _room(request).store.templates(filters, limit=limit, offset=(page - 1) * limit)
    return page_of(found, total=total, limit=limit, page=page)  # type: ignore[return-value]


@endpoint("GET", _ONE, needs=READ, says="One template", errors=(404,), tag=TAG)
async def read(request: ApiRequest, code: Code) -> Envelope[Template]:
    return Envelope(await actions.template(_room(request).store, code))


@endpoint("PATCH", _ONE, needs=WRITE, says="Change category or at_most_once", errors=(404,), tag=TAG)
async def change(request: ApiRequest, code: Code, data: JSONBody[TemplateChanges]) -> Envelope[Template]:
    return Envelope(await actions.change(_to_write(request, code).store, code, data), "changed")


@endpoint(
    "DELETE",
    _ONE,
    needs=WRITE,
    says="Delete a template that is published nowhere",
    errors=(404, 409),
    tag=TAG,
    strict=True,
)
async def delete(request: ApiRequest, code: Code) -> Envelope[None]:
    await actions.delete(_to_write(request, code).store, code)
    return Envelope(None, "deleted with all its versions")


@endpoint("POST", f"{_ONE}/versions", needs=WRITE, says="Add a version", status=201, errors=(404,), tag=TAG)
async def add_version(request: ApiRequest, code: Code, data: JSONBody[VersionToMake]) -> Envelope[TemplateVersion]:
    room = _to_write(request, code)
    made = await actions.add_version(
        room.store, code, data, by=request.auth.caller_id, default_language=room.default_language
    )
    return Envelope(made, "added; it is sent once it is published")


@endpoint("GET", f"{_ONE}/versions", needs=READ, says="List versions, newest first", errors=(404,), tag=TAG)
async def list_versions(
    request: ApiRequest,
    code: Code,
    channel: FromQuery[Channel | None] = None,
    language: InLanguage = None,
    page: Page = 1,
    limit: PageSize = 20,
) -> Envelope[list[TemplateVersion]]:
    found, total = await actions.versions(_room(request).store, code, channel, language, limit=limit, page=page)
    return page_of(found, total=total, limit=limit, page=page)  # type: ignore[return-value]


@endpoint("GET", _VERSION, needs=READ, says="One version", errors=(404,), tag=TAG)
async def read_version(request: ApiRequest, code: Code, number: Number) -> Envelope[TemplateVersion]:
    return Envelope(await actions.version(_room(request).store, code, number))


@endpoint("POST", f"{_VERSION}/publish", needs=WRITE, says="Publish a version, or roll back", errors=(404,), tag=TAG)
async def publish(request: ApiRequest, code: Code, number: Number) -> Envelope[TemplateVersion]:
    published = await actions.publish(_to_write(request, code).store, code, number, by=request.auth.caller_id)
    return Envelope(published, f"published for {published.channel} in {published.language}")


@endpoint("POST", f"{_ONE}/preview", needs=READ, says="Render with given variables", errors=(404,), tag=TAG)
async def preview(request: ApiRequest, code: Code, data: JSONBody[PreviewAsked]) -> Envelope[Preview]:
    room = _room(request)
    found = await actions.preview(room.store, code, data, default_language=room.default_language, cache=room.cache)
    return Envelope(found, "rendered" if found.rendered else "not rendered: see missing and error")


@endpoint(
    "GET",
    f"{_ONE}/published",
    needs=READ,
    says="The published version for a channel and language",
    errors=(404,),
    also=(304,),
    tag=TAG,
)
async def published(
    request: ApiRequest,
    code: Code,
    channel: FromQuery[Channel],
    language: InLanguage = None,
    if_none_match: Annotated[str | None, HeaderParameter(name="If-None-Match")] = None,
) -> Response[Envelope[PublishedTemplate]]:
    room = _room(request)
    found = await actions.published(room.store, code, channel, language, default_language=room.default_language)
    body = msgspec.json.encode(Envelope(found))
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if _matches(if_none_match, etag):
        return _raw(b"", 304, headers)
    return _raw(body, 200, headers)


@endpoint(
    "DELETE",
    f"{_ONE}/published",
    needs=WRITE,
    says="Publish nothing there any more",
    errors=(404,),
    tag=TAG,
    strict=True,
)
async def withdraw(
    request: ApiRequest,
    code: Code,
    channel: FromQuery[Channel],
    language: ExactLanguage,
) -> Envelope[Template]:
    return Envelope(await actions.withdraw(_to_write(request, code).store, code, channel, language), "withdrawn")


def _raw(body: bytes, status: int, headers: dict[str, str]) -> Response[Any]:
    """An answer that is encoded already."""
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def _matches(given: str | None, etag: str) -> bool:
    """Whether `If-None-Match` names this ETag, weak or strong, alone or in a list."""
    named = [tag.strip().removeprefix("W/") for tag in (given or "").split(",")]
    return "*" in named or etag in named


ROUTES: list[HTTPRouteHandler] = [
    create,
    list_templates,
    read,
    change,
    delete,
    add_version,
    list_versions,
    read_version,
    publish,
    preview,
    published,
    withdraw,
]
