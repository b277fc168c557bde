"""The control API of a simulator, on loopback: what was received, how many of each, start afresh, change the rules."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, cast
from uuid import UUID

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import Meta

from carillon.kit.errors import Forbidden, NotFound, invalid
from carillon.kit.http.access import ANYONE, ApiRequest
from carillon.kit.http.envelope import Envelope, page_of
from carillon.kit.http.paging import Page
from carillon.kit.http.routing import endpoint
from carillon.simulators.domain.mail import clean
from carillon.simulators.domain.rules import MOST_RULES, Kind, Rule
from carillon.simulators.domain.scripts import BadScript, check
from carillon.simulators.loopback import is_asked_from_here
from carillon.simulators.tool.book import Book, Bounce, Entry, Verdict
from carillon.simulators.tool.bounces import Bounces

_TAG = "simulator"

Limit = Annotated[int, QueryParameter(ge=1, le=1_000)]
Recipient = Annotated[str | None, QueryParameter(max_length=4_096, description="Address or token, in any case")]


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """One try to deliver to one recipient. `taken`: it counts as delivered, whatever the client heard. `rule` is the
    place of the rule that decided, from 1; `size` is in bytes."""

    id: UUID
    number: int
    received_at: datetime
    to: str
    sender: str | None
    message_id: str | None
    verdict: Verdict
    taken: bool
    said: str
    rule: int | None
    bounce: Bounce | None
    size: int


class ReceivedWhole(Received, frozen=True, kw_only=True):
    """`content` is what came, as text; null where the simulator does not keep it."""

    content: str | None


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Since the start or the last reset; `kept` is how many of the tries can still be looked at."""

    tries: int
    taken: int
    accepted: int
    refused: int
    hung: int
    dropped: int
    unfinished: int
    bounces_waiting: int
    bounces_told: int
    bounces_untold: int
    kept: int


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rules in their order, the first that wants a message has it. Without a seed the present one stays."""

    EXAMPLES = ({"rules": [{"do": "refuse", "code": 451, "to": "*@example.com", "times_each": 2}], "seed": 7},)

    rules: Annotated[list[Rule], Meta(max_length=MOST_RULES)]
    seed: Annotated[int, Meta(ge=0, le=2**53)] | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """What the routes work with."""

    kind: Kind
    book: Book
    bounces: Bounces


def _desk(request: ApiRequest) -> Desk:
    if not is_asked_from_here(request):
        raise Forbidden("A simulator is looked at from this machine only.")
    return cast(Desk, request.app.state.desk)


@endpoint("GET", "/received", needs=ANYONE, says="What was received, newest first", errors=(403,), tag=_TAG)
async def list_received(
    request: ApiRequest,
    to: Recipient = None,
    verdict: FromQuery[Verdict | None] = None,
    page: Page = 1,
    limit: Limit = 100,
) -> Envelope[Sequence[Received]]:
    found = _desk(request).book.entries(to=to, verdict=verdict)
    shown = found[(page - 1) * limit : page * limit]
    return page_of([Received(**_fields(entry)) for entry in shown], total=len(found), limit=limit, page=page)


@endpoint(
    "GET",
    "/received/{entry_id:uuid}",
    needs=ANYONE,
    says="One of them, with its content where that is kept",
    errors=(403, 404),
    tag=_TAG,
)
async def show_received(request: ApiRequest, entry_id: FromPath[UUID]) -> Envelope[ReceivedWhole]:
    entry = _desk(request).book.entry(entry_id)
    if entry is None:
        raise NotFound("This is not kept, or not any more.")
    content = None if entry.content is None else clean(entry.content.decode("utf-8", "surrogateescape"))
    return Envelope(ReceivedWhole(**_fields(entry), content=content))


@endpoint(
    "DELETE",
    "/received",
    needs=ANYONE,
    says="Forget everything and begin to count anew; bounces that wait are never told",
    errors=(403,),
    tag=_TAG,
)
async def forget(request: ApiRequest) -> Envelope[Counts]:
    desk = _desk(request)
    before = _counts(desk)
    desk.book.forget()
    desk.bounces.forget()
    return Envelope(before, "forgotten")


@endpoint("GET", "/counts", needs=ANYONE, says="How many of each", errors=(403,), tag=_TAG)
async def count(request: ApiRequest) -> Envelope[Counts]:
    return Envelope(_counts(_desk(request)))


@endpoint("GET", "/rules", needs=ANYONE, says="The rules it goes by, and the seed", errors=(403,), tag=_TAG)
async def show_rules(request: ApiRequest) -> Envelope[Rules]:
    return Envelope(_rules(_desk(request).book))


@endpoint("PUT", "/rules", needs=ANYONE, says="Go by other rules from the next message on", errors=(403,), tag=_TAG)
async def change_rules(request: ApiRequest, data: JSONBody[Rules]) -> Envelope[Rules]:
    desk = _desk(request)
    try:
        check(data.rules, desk.kind)
    except BadScript as error:
        raise invalid("rules", str(error)) from None
    desk.book.follow(data.rules, data.seed)
    return Envelope(_rules(desk.book), "from the next message on")


def _rules(book: Book) -> Rules:
    return Rules(list(book.choices.rules), book.choices.seed)


def _counts(desk: Desk) -> Counts:
    counted = desk.book.counts
    named = {name: counted[name] for name in Counts.__struct_fields__}
    return Counts(**{**named, "bounces_waiting": desk.bounces.waiting, "kept": desk.book.kept})


def _fields(entry: Entry) -> dict[str, Any]:
    names = [name for name in Received.__struct_fields__ if name != "id"]
    return {"id": entry.entry_id, **{name: getattr(entry, name) for name in names}}


ROUTES: list[HTTPRouteHandler] = [list_received, show_received, forget, count, show_rules, change_rules]
