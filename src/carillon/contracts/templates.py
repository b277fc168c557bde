"""API shapes of the templates service that workers and the gateway rely on."""

from typing import Annotated, Literal

import msgspec

from carillon.contracts.channels import Channel

TemplateCode = Annotated[
    str,
    msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9_.\-]{0,99}(?!\n)$", description="Lower-case, e.g. `order_shipped`"),
]
Language = Annotated[
    str, msgspec.Meta(pattern=r"^[a-zA-Z]{2,3}(-[a-zA-Z0-9]{2,8}){0,3}(?!\n)$", description="BCP 47, e.g. `pt-BR`")
]


VariableType = Literal["string", "number", "boolean", "object", "array"]


class Variable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a template expects of one variable. A text that spells a number or a truth value counts as one."""

    type: VariableType = "string"
    required: bool = True


class Content(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a version says: e-mail has a subject and a body at least, push a title and a body, maybe image and link."""

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
