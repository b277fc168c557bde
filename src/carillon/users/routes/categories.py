"""Categories of notifications: seen by everybody, kept by those who may."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import msgspec
from litestar import Response
from litestar.params import JSONBody, PathParameter
from msgspec import Meta

from carillon.contracts.channels import Channel
from carillon.kit.errors import invalid
from carillon.kit.http.access import SIGNED_IN, ApiRequest
from carillon.kit.http.conditions import IfMatch, etag, expected_versions
from carillon.kit.http.envelope import Envelope
from carillon.kit.http.routing import endpoint
from carillon.users.actions.categorising import drop_category, put_category
from carillon.users.domain.categories import Category, CategoryWanted
from carillon.users.routes.resources import TAG, resources

WRITE_CATEGORIES = "categories:write"
_CODE = r"^[a-z0-9][a-z0-9_.\-]*(?!\n)$"
_PATH = "/categories/{code:str}"
Code = Annotated[str, PathParameter(min_length=1, max_length=100, pattern=_CODE)]


class CategoryGiven(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of PUT: what is not given takes its default. Nobody can opt out of `required_channels`."""

    EXAMPLES: ClassVar[Any] = (
        {"description": "Offers and news", "allowed": False},
        {"description": "Invoices", "required_channels": ["email"], "urgent": False},
    )

    description: Annotated[
        str, Meta(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]*(?!\n)$", description="One line of text")
    ]
    allowed: Annotated[bool, Meta(description="Whether it is sent to those who have not chosen")] = True
    required_channels: Annotated[list[Channel], Meta(max_length=2, extra_json_schema={"uniqueItems": True})] = []
    urgent: Annotated[bool, Meta(description="Not held up by quiet hours")] = False


@endpoint("GET", "/categories", needs=SIGNED_IN, says="Every category there is", errors=(503,), tag=TAG)
async def list_categories(request: ApiRequest) -> Envelope[Sequence[Category]]:
    return Envelope(await resources(request).stores.categories.everything())


@endpoint(
    "PUT", _PATH, needs=WRITE_CATEGORIES, says="Make or replace a category",
    status=200, also=(201,), answers=Envelope[Category], errors=(409, 412), tag=TAG, strict=True,
)  # fmt: skip
async def replace_category(
    request: ApiRequest, code: Code, data: JSONBody[CategoryGiven], if_match: IfMatch = None
) -> Response[Envelope[Category]]:
    if len(set(data.required_channels)) != len(data.required_channels):
        raise invalid("required_channels", "Names a channel twice")
    here = resources(request)
    kept, made = await put_category(
        CategoryWanted(code=code, **msgspec.structs.asdict(data)),
        actor_id=request.auth.caller_id,
        keeper=here.stores.categories,
        announce=here.changes.announce_soon,
        expected=expected_versions(if_match),
    )
    answer = Envelope(kept, "made" if made else "replaced")
    return Response(answer, status_code=201 if made else 200, headers=etag(kept.version))


@endpoint(
    "DELETE", _PATH, needs=WRITE_CATEGORIES, says="Drop a category: its default and its rules end, choices stay",
    errors=(404, 409), tag=TAG, strict=True,
)  # fmt: skip
async def remove_category(request: ApiRequest, code: Code) -> Envelope[None]:
    here = resources(request)
    await drop_category(
        code, actor_id=request.auth.caller_id, keeper=here.stores.categories, announce=here.changes.announce_soon
    )
    return Envelope(None, "dropped")


HANDLERS = [list_categories, replace_category, remove_category]
