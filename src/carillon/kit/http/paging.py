"""Pages outside, keys inside: numbered pages as far as they are cheap, and a cursor that goes on at any depth.

A list is sorted by a UUID, the newest first. A cursor tells after which key to go on and of which list; a changed one,
or one of another list, is refused.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeAlias, TypeVar
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

from litestar.params import QueryParameter

from carillon.kit.errors import invalid
from carillon.kit.http.access import ApiRequest
from carillon.kit.http.answer import Answer
from carillon.kit.http.envelope import Envelope, PageMeta

T = TypeVar("T")

DEEPEST: Final = 10_000
"""Rows that numbered pages reach, and to which a total is exact."""

Page: TypeAlias = Annotated[int, QueryParameter(ge=1, le=1_000_000)]
PageNumber: TypeAlias = Annotated[int | None, QueryParameter(ge=1, le=1_000_000)]
"""Of a list that has cursors too."""
PageSize: TypeAlias = Annotated[int, QueryParameter(ge=1, le=100)]
Cursor: TypeAlias = Annotated[
    str | None,
    QueryParameter(max_length=100, description='Goes on after a page: from its `Link: <…>; rel="next"`'),
]
_SEAL = 8
_LENGTH = 16 + 4 + _SEAL


@dataclass(frozen=True, slots=True)
class Wanted:
    """A page: `after` a key, or past `offset` rows. `name` tells the list with its filters."""

    name: str
    number: int
    limit: int
    offset: int
    after: UUID | None

    @property
    def fetched(self) -> int:
        """One more than is shown, which tells whether there is a next page."""
        return self.limit + 1


def wanted(name: str, *, page: int | None, limit: int, cursor: str | None) -> Wanted:
    """Raises Invalid for a page too deep, and for a cursor that is none of this list."""
    if cursor is not None:
        if page is not None:
            raise invalid("page", "Give a page or a cursor, not both.")
        number, after = _opened(cursor, name)
        return Wanted(name, number, limit, 0, after)
    number = page or 1
    if number * limit > DEEPEST:
        reason = f"Numbered pages reach {DEEPEST} rows; go on with the cursor in the header Link of a page, or filter."
        raise invalid("page", reason)
    return Wanted(name, number, limit, (number - 1) * limit, None)


def page_answer(
    request: ApiRequest, found: Sequence[T], *, asked: Wanted, total: int, key: Callable[[T], UUID]
) -> Answer[Envelope[Sequence[T]]]:
    """`found` holds up to `asked.fetched`; `total` is exact up to DEEPEST, and DEEPEST + 1 stands for more."""
    items, more = found[: asked.limit], len(found) > asked.limit
    pages = max(1, -(-total // asked.limit))
    meta = PageMeta(total, asked.limit, asked.number, pages, has_next=more, has_previous=asked.number > 1)
    headers = {"Link": f'<{_next(request, items, asked, key)}>; rel="next"'} if more else {}
    return Answer(Envelope(items, meta=meta), headers=headers)


def _next(request: ApiRequest, items: Sequence[T], asked: Wanted, key: Callable[[T], UUID]) -> str:
    query = request.scope.get("query_string", b"").decode("latin-1")
    kept = [(name, value) for name, value in parse_qsl(query) if name not in {"page", "cursor"}]
    cursor = _sealed(key(items[-1]), asked.number + 1, asked.name)
    return f"{request.scope['path']}?{urlencode([*kept, ('cursor', cursor)])}"


def _sealed(after: UUID, number: int, name: str) -> str:
    body = after.bytes + number.to_bytes(4, "big")
    return base64.urlsafe_b64encode(body + _seal(body, name)).rstrip(b"=").decode()


def _opened(cursor: str, name: str) -> tuple[int, UUID]:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    body, seal = raw[:-_SEAL], raw[-_SEAL:]
    if len(raw) != _LENGTH or seal != _seal(body, name):
        raise invalid("cursor", "This is no cursor of this list with these filters: take it from the header Link.")
    return int.from_bytes(body[16:], "big"), UUID(bytes=body[:16])


def _seal(body: bytes, name: str) -> bytes:
    """No secret: whoever forges a cursor sees nothing that another filter would not show them."""
    return hashlib.sha256(body + name.encode()).digest()[:_SEAL]


def list_name(path: str, *filters: Any) -> str:
    """What a cursor is bound to."""
    return repr((path, *filters))
