"""A pool of providers on a clock that the test moves."""

from dataclasses import dataclass, field
from typing import Any

from carillon.delivery.domain import Accepted, ProviderAnswer
from carillon.delivery.pool import Pool
from carillon.delivery.ports import Terms
from carillon.delivery.providers import Route
from carillon.kit.breaker import Breaker


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Answering:
    """A provider that says the same to everybody."""

    name: str
    terms: Terms
    answer: ProviderAnswer = field(default_factory=Accepted)
    sent: int = 0

    async def send(self, _item: Any) -> ProviderAnswer:
        self.sent += 1
        return self.answer


@dataclass
class Fleet:
    """Providers by name, the pool of them, and their clock."""

    clock: Clock
    routes: dict[str, Route]
    pool: Pool

    def break_down(self, name: str) -> None:
        while self.routes[name].closed:
            self.routes[name].breaker.failed()


def fleet(*, total: int = 10, **terms: Terms) -> Fleet:
    """Each rests for 5 s after three failures in a row."""
    clock = Clock()
    routes = {
        name: Route(
            Answering(name, each), Breaker(failures=3, rest_seconds=5, clock=clock), connections=total, clock=clock
        )
        for name, each in terms.items()
    }
    return Fleet(clock, routes, Pool(list(routes.values()), total=total))


def pool_of(*, total: int = 10, **terms: Terms) -> Pool:
    return fleet(total=total, **terms).pool
