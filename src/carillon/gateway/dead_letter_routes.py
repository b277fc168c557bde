"""HTTP of the dead letters: what died of what, and sending it again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol, cast

from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery, JSONBody, QueryParameter

from carillon.contracts.channels import Channel
from carillon.contracts.dead_letters import CAUSE, DeadLetter, DeadLetterGroup, Replayed, ReplayRequested
from carillon.gateway.actions.replay import Replaying, replay
from carillon.gateway.dead_letters import LettersWanted
from carillon.kit.http.access import ApiRequest
from carillon.kit.http.envelope import Envelope, page_of
from carillon.kit.http.moments import Moment, moment
from carillon.kit.http.paging import Page, PageSize
from carillon.kit.http.routing import endpoint

READ = "notifications:read"
REPLAY = "notifications:replay"
_TAG = "dead letters"
_Code = Annotated[str | None, QueryParameter(pattern=r"^[a-z0-9_.\-]{1,100}(?!\n)$")]


class LetterReader(Protocol):
    async def groups(
        self, wanted: LettersWanted, *, limit: int, offset: int
    ) -> tuple[Sequence[DeadLetterGroup], int]: ...

    async def page(self, wanted: LettersWanted, *, limit: int, offset: int) -> tuple[Sequence[DeadLetter], int]: ...


@dataclass(frozen=True, slots=True)
class Mortuary:
    """What these routes reach."""

    letters: LetterReader
    replaying: Replaying


def _mortuary(request: ApiRequest) -> Mortuary:
    return cast(Mortuary, request.app.state.dead_letters)


@endpoint(
    "GET",
    "/dead_letters",
    needs=READ,
    says="What died and was not sent again, by its cause, the most frequent first",
    tag=_TAG,
)
async def show_groups(
    request: ApiRequest,
    page: Page = 1,
    limit: PageSize = 20,
    notification_type: FromQuery[Channel | None] = None,
    template_code: _Code = None,
    died_from: Moment = None,
    died_to: Moment = None,
) -> Envelope[Sequence[DeadLetterGroup]]:
    wanted = LettersWanted(
        channel=notification_type,
        template_code=template_code,
        died_from=moment("died_from", died_from),
        died_to=moment("died_to", died_to),
    )
    found, total = await _mortuary(request).letters.groups(wanted, limit=limit, offset=(page - 1) * limit)
    return page_of(found, total=total, limit=limit, page=page)


@endpoint(
    "GET",
    "/dead_letters/all",
    needs=READ,
    says="Dead letters one by one, the newest first; died_from is included, died_to is not",
    tag=_TAG,
)
async def show_letters(
    request: ApiRequest,
    page: Page = 1,
    limit: PageSize = 20,
    cause: Annotated[str | None, QueryParameter(pattern=CAUSE)] = None,
    notification_type: FromQuery[Channel | None] = None,
    template_code: _Code = None,
    died_from: Moment = None,
    died_to: Moment = None,
    replayed: FromQuery[bool | None] = None,
) -> Envelope[Sequence[DeadLetter]]:
    wanted = LettersWanted(
        cause=cause,
        channel=notification_type,
        template_code=template_code,
        died_from=moment("died_from", died_from),
        died_to=moment("died_to", died_to),
        replayed=replayed,
    )
    found, total = await _mortuary(request).letters.page(wanted, limit=limit, offset=(page - 1) * limit)
    return page_of(found, total=total, limit=limit, page=page)


@endpoint(
    "POST",
    "/dead_letters/replay",
    needs=REPLAY,
    says="Send dead letters again where their notification still has failed and its user may be notified",
    tag=_TAG,
)
async def send_again(request: ApiRequest, data: JSONBody[ReplayRequested]) -> Envelope[Replayed]:
    return Envelope(await replay(data, _mortuary(request).replaying, caller_id=request.auth.caller_id))


DEAD_LETTER_ROUTES: tuple[HTTPRouteHandler, ...] = (show_groups, show_letters, send_again)
