"""HTTP of the operators' figures."""

from dataclasses import dataclass
from typing import cast

from litestar.handlers import HTTPRouteHandler

from carillon.contracts.stats import Stats
from carillon.gateway.actions.measure import Backlog
from carillon.gateway.actions.tally import Tallies, stats_of
from carillon.kit.http.access import ApiRequest
from carillon.kit.http.envelope import Envelope
from carillon.kit.http.routing import endpoint


@dataclass(frozen=True, slots=True)
class Figures:
    """What is known without asking anybody."""

    tallies: Tallies
    backlog: Backlog


@endpoint(
    "GET",
    "/stats",
    needs="notifications:read",
    says="Accepted, delivered, failed and suppressed by the minute in the last hour, and how much waits where",
    tag="operations",
)
async def show_stats(request: ApiRequest) -> Envelope[Stats]:
    figures = cast(Figures, request.app.state.figures)
    return Envelope(stats_of(figures.tallies, figures.backlog))


STATS_ROUTES: tuple[HTTPRouteHandler, ...] = (show_stats,)
