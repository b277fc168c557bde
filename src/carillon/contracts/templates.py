"""API shapes of the templates service: what workers and the gateway rely on, and what authors post and are told."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from carillon.contracts.channels import Channel

LANGUAGE: Final = r"\A[a-zA-Z]{2,3}(-[a-zA-Z0-9]{2,8}){0,3}\Z"
CATEGORY: Final = r"\A[a-z0-9][a-z0-9_.\-]{0,99}\Z"
LARGEST_NUMBER: Final = 2_147_483_647

TemplateCode = Annotated[
    str, Meta(pattern=r"\A[a-z0-9][a-z0-9_.\-]{0,99}\Z", description="Lower-case code, e.g. `order_shipped`")
]
Language = Annotated[str, Meta(pattern=LANGUAGE, description="BCP 47, e.g. `pt-BR`")]
Category = Annotated[str, Meta(pattern=CATEGORY, description="Lower-case, e.g. `billing`")]
VariableName = Annotated[str, Meta(max_length=100, pattern=r"\A[A-Za-z_][A-Za-z0-9_]*\Z")]
VariableType = Literal["string", "number", "boolean", "object", "array"]

DAY: Final = 86_400.0
_NO_NUL = r"\A[^\x00]*\Z"
_Line = Annotated[str, Meta(min_length=1, max_length=1_000, pattern=_NO_NUL)]
_Address = Annotated[str, Meta(min_length=1, max_length=4_000, pattern=_NO_NUL)]
_Text = Annotated[str, Meta(min_length=1, max_length=200_000, pattern=_NO_NUL)]


_EMAIL: Final = {
    "channel": "email",
    "language": "en",
    "subject": "Your order {{ order }} is on its way",
    "body_text": "Hello {{ name }}, follow it at {{ link }}.",
    "body_html": '<p>Hello {{ name }}, <a href="{{ link }}">follow it</a>.</p>',
    "variables": {"order": {"type": "number"}},
}
_PUSH: Final = {"channel": "push", "language": "en", "title": "On its way", "body": "{{ name }}, tap to follow it."}


class Variable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a template expects of one variable. A text that spells a number or a truth value counts as one."""

    type: VariableType = "string"
    required: bool = True


class Retry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How hard a delivery of this version is tried; what is absent is as the worker's settings say.

    After attempt n the wait is a random part of `base_seconds` doubled n - 1 times, of `cap_seconds` at most.
    `give_up_after_seconds` counts from acceptance, or from `send_at`.
    """

    attempts: Annotated[int, Meta(ge=1, le=1_000)] | None = None
    base_seconds: Annotated[float, Meta(ge=0.1, le=DAY)] | None = None
    cap_seconds: Annotated[float, Meta(ge=0.1, le=DAY)] | None = None
    give_up_after_seconds: Annotated[float, Meta(ge=1, le=30 * DAY)] | None = None


class Content(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a version says. E-mail has subject and body_text and/or body_html; push has title and body, and may have
    image and link."""

    subject: str | None = None
    body_text: str | None = None
    body_html: str | None = None
    title: str | None = None
    body: str | None = None
    image: str | None = None
    link: str | None = None


class PublishedTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of `GET /templates/{code}/published`: the version that this channel and language get now."""

    code: str
    channel: Channel
    language: str
    version: int
    category: str | None
    at_most_once: bool
    content: Content
    variables: dict[str, Variable] = {}
    retry: Retry | None = None


class VersionToMake(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /templates/{code}/versions`. `language` is the service's default where it is absent."""

    EXAMPLES: ClassVar[Any] = (_EMAIL, _PUSH, {**_EMAIL, "retry": {"attempts": 3, "give_up_after_seconds": 600}})

    channel: Channel
    language: Language | None = None
    variables: Annotated[dict[VariableName, Variable], Meta(max_length=200)] = {}
    retry: Retry | None = None
    subject: _Line | None = None
    body_text: _Text | None = None
    body_html: _Text | None = None
    title: _Line | None = None
    body: _Text | None = None
    image: _Address | None = None
    link: _Address | None = None


class TemplateToMake(VersionToMake, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /templates`: a template and its version 1, not yet published."""

    EXAMPLES: ClassVar[Any] = (
        {"code": "order_shipped", "category": "orders", **_EMAIL},
        {"code": "order_shipped_push", **_PUSH},
    )

    code: TemplateCode
    category: Category | None = None
    at_most_once: bool = False


class TemplateChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `PATCH /templates/{code}`: what is absent stays."""

    EXAMPLES: ClassVar[Any] = ({"category": "billing"}, {"at_most_once": True})

    category: Category | UnsetType | None = UNSET
    at_most_once: bool | UnsetType = UNSET


class Publication(msgspec.Struct, frozen=True):
    """The version that a channel and language get now."""

    channel: Channel
    language: str
    version: int
    published_at: datetime


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """A template without its words. `version` is the newest one's number, published or not."""

    template_id: UUID
    code: str
    category: str | None
    at_most_once: bool
    version: int
    published: list[Publication]
    created_at: datetime
    updated_at: datetime


class TemplateVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable version. `published` tells whether its channel and language get it now."""

    version_id: UUID
    code: str
    version: int
    channel: Channel
    language: str
    published: bool
    variables: dict[str, Variable]
    retry: Retry | None = None
    subject: str | None = None
    body_text: str | None = None
    body_html: str | None = None
    title: str | None = None
    body: str | None = None
    image: str | None = None
    link: str | None = None
    created_by: UUID
    created_at: datetime


class PreviewAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /templates/{code}/preview`.

    Without `version`: the one published for channel and language, or where none is, the newest that fits.
    """

    EXAMPLES: ClassVar[Any] = (
        {"variables": {"name": "Ada", "link": "https://example.com/orders/7", "order": 7}},
        {"version": 1, "variables": {}},
    )

    variables: dict[str, Any] = {}
    channel: Channel | None = None
    language: Language | None = None
    version: Annotated[int, Meta(ge=1, le=LARGEST_NUMBER)] | None = None


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """`rendered` is null where variables are missing (`missing` names all) or rendering failed (`error` says why)."""

    code: str
    version: int
    channel: Channel
    language: str
    rendered: Content | None
    missing: list[str]
    error: str | None
