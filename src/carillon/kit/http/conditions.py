"""A version as an entity tag, and the versions that a writer insists on (RFC 9110: `ETag`, `If-Match`)."""

import re
from typing import Annotated, TypeAlias

from litestar.params import HeaderParameter

IfMatch: TypeAlias = Annotated[
    str | None,
    HeaderParameter(
        name="If-Match",
        max_length=1000,
        description="Change nothing unless this is the present version: the `ETag` of an answer",
    ),
]
"""The type of a route's parameter `if_match`; its default is None."""

_TAG = re.compile(r'"(\d{1,18})"')


def etag(version: int) -> dict[str, str]:
    """The header that tells a version."""
    return {"ETag": f'"{version}"'}


def expected_versions(if_match: str | None) -> frozenset[int] | None:
    """The versions a writer insists on; None where any will do. A weak or foreign tag is no version of ours."""
    if if_match is None or if_match.strip() == "*":
        return None
    found = (_TAG.fullmatch(tag.strip()) for tag in if_match.split(","))
    return frozenset(int(tag[1]) for tag in found if tag)
