"""The one shape of every answer: `{success, message, data, meta}` or `{success, error, message, details?}`."""

import math
from collections.abc import Sequence
from typing import Generic, Literal, TypeVar

import msgspec

from carillon.kit.errors import FieldProblem, Problem

T = TypeVar("T")


class PageMeta(msgspec.Struct, frozen=True):
    """Where an answer stands among all there are."""

    total: int
    limit: int
    page: int
    total_pages: int
    has_next: bool
    has_previous: bool


ONE = PageMeta(total=1, limit=1, page=1, total_pages=1, has_next=False, has_previous=False)


class Envelope(msgspec.Struct, Generic[T], frozen=True):
    """A successful answer."""

    data: T
    message: str = "ok"
    meta: PageMeta = ONE
    success: Literal[True] = True


class ErrorEnvelope(msgspec.Struct, frozen=True):
    """An answer that says what went wrong: a stable code, a sentence, and the fields concerned."""

    error: str
    message: str
    success: Literal[False] = False
    details: tuple[FieldProblem, ...] | msgspec.UnsetType = msgspec.UNSET


class ErrorWithData(msgspec.Struct, Generic[T], frozen=True):
    """As an ErrorEnvelope, with what the caller needs to go on where that is possible."""

    error: str
    message: str
    success: Literal[False] = False
    details: tuple[FieldProblem, ...] | msgspec.UnsetType = msgspec.UNSET
    data: T | msgspec.UnsetType = msgspec.UNSET


def failure(problem: Problem) -> ErrorEnvelope | ErrorWithData[msgspec.Struct]:
    details = problem.details or msgspec.UNSET
    if problem.data is None:
        return ErrorEnvelope(problem.code, problem.message, details=details)
    return ErrorWithData(problem.code, problem.message, details=details, data=problem.data)


def refusal(problem: Problem) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The head, but for the status, and the body of an answer that refuses."""
    body = msgspec.json.encode(failure(problem))
    headers = [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
    return [*headers, (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))], body


def page_of(items: Sequence[T], *, total: int, limit: int, page: int, message: str = "ok") -> Envelope[Sequence[T]]:
    """One page of a list; `page` counts from 1."""
    pages = max(1, math.ceil(total / limit))
    meta = PageMeta(total, limit, page, pages, has_next=page < pages, has_previous=page > 1)
    return Envelope(items, message, meta)
