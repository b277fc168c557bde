"""Audiences: which people a broadcast is for, and the shapes in which the users service tells their ids in pages."""

from typing import Annotated, Any, ClassVar, Final
from uuid import UUID

import msgspec
from msgspec import Meta

from carillon.contracts.templates import Language

MOST_LOOKED_AT: Final = 1_000
"""Rows of people that one page looks at, matching or not."""
MOST_COUNTED: Final = 50_000
"""Rows that one call looks at where it only counts."""

_Key = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00]*$")]
_Text = Annotated[str, Meta(max_length=500, pattern=r"^[^\x00]*$")]


class AudienceFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Active people whose attributes have all of these values, and who read this language; with neither, everybody."""

    attributes: Annotated[dict[_Key, _Text | bool | int | float], Meta(max_length=20)] = {}
    locale: Language | None = None


class AudienceWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /users/audience`: who matches, by id, from `after` on; `count_only` answers no ids."""

    EXAMPLES: ClassVar[Any] = (
        {"filter": {"attributes": {"plan": "free"}, "locale": "en"}},
        {"filter": {}, "after": "01a1d1a0-0000-7000-8000-000000000001", "count_only": True},
    )

    filter: AudienceFilter
    after: UUID | None = None
    count_only: bool = False


class AudiencePage(msgspec.Struct, frozen=True):
    """How many of those looked at match, and their ids; `next_after` null: everybody has been looked at."""

    count: int
    user_ids: list[UUID]
    next_after: UUID | None
