"""The providers of a channel together: who takes the next message, and who waits for what without harm to others."""

import asyncio
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from carillon.contracts.channels import Lane
from carillon.delivery import metrics
from carillon.delivery.providers import Route, kept_of
from carillon.kit.breaker import State


class NoPlace(Exception):
    """No provider could take the message in time: `reason` is the word for it, `seconds` when to ask again."""

    def __init__(self, reason: str, seconds: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Admission:
    """Leave to look for a place; where it is to `probe` a provider that was away, it is used or `abandoned`."""

    probe: Route | None = None

    def abandoned(self) -> None:
        if self.probe is not None:
            self.probe.breaker.abandoned()


ANY = Admission()


@dataclass(slots=True, eq=False)
class _Wish:
    lane: Lane
    probe: Route | None
    without: Collection[str]

    @property
    def special(self) -> bool:
        """Others may find a place where it finds none."""
        return self.probe is not None or bool(self.without)


_Turn = asyncio.Future[Route]
_Queue = deque[tuple[_Wish, _Turn]]


class Pool:
    """`total` sends at most at once, and at each provider no more than its own limits; lanes other than high leave a
    fifth of both alone. Among the providers that are not away, those with a weight share by it; those without one take
    messages only while all of the others are away, in their order."""

    def __init__(self, routes: Sequence[Route], *, total: int, service: str = "") -> None:
        self._routes = sorted(routes, key=lambda route: not route.weight)
        self._free = total
        self._kept = kept_of(total)
        self._high: _Queue = deque()
        self._others: _Queue = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self._waits = {
            reason: metrics.WAITS.labels(service, reason) for reason in ("provider_away", "no_free_connection")
        }

    def admit(self) -> Admission | float:
        """Leave to look for a place, or the seconds until a provider may be there again."""
        soonest, some = float("inf"), False
        for route in self._routes:
            if route.closed:
                some = True
            elif route.weight or not some:
                wait = route.breaker.admit()
                if wait == 0:
                    return Admission(route)
                soonest = min(soonest, wait)
        if some:
            return ANY
        self._waits["provider_away"].inc()
        return soonest

    def states(self) -> Mapping[str, State]:
        return {route.name: route.breaker.state for route in self._routes}

    def place(
        self, lane: Lane, admission: Admission = ANY, *, seconds: float, without: Collection[str] = ()
    ) -> "_Place":
        """Hold a place at a provider for the length of the block, at none of those named in `without`.

        Raises NoPlace: none came free within `seconds`, or all providers are away by now.
        """
        return _Place(self, _Wish(lane, admission.probe, without), seconds)

    async def entered(self, wish: _Wish, seconds: float) -> Route:
        """A place taken. Raises NoPlace."""
        try:
            return await self._take(wish, seconds)
        except NoPlace as none:
            if not wish.without:
                self._waits[none.reason].inc()
            raise

    def left(self, route: Route) -> None:
        self._free += 1
        route.leave()
        if self._high or self._others:
            self._hand_out()

    async def _take(self, wish: _Wish, seconds: float) -> Route:
        queue = self._high if wish.lane == "high" else self._others
        if not queue and not self._high and (route := self._chosen(wish)) is not None:
            return route
        turn: _Turn = asyncio.get_running_loop().create_future()
        if wish.special:
            queue.appendleft((wish, turn))
        else:
            queue.append((wish, turn))
        self._hand_out()
        try:
            if turn.done():
                return turn.result()
            async with asyncio.timeout(seconds):
                return await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:  # it came in the moment we left
                self.left(turn.result())
            if isinstance(error, TimeoutError):
                raise NoPlace("no_free_connection") from None
            raise

    def _hand_out(self) -> None:
        """Everybody alike waits for the same: where one of them finds nothing, nobody behind does."""
        for queue in (self._high, self._others):
            left: list[tuple[_Wish, _Turn]] = []
            while queue:
                wish, turn = queue.popleft()
                if not turn.done() and not self._served(wish, turn):
                    left.append((wish, turn))
                    if not wish.special:
                        break
            queue.extendleft(reversed(left))
        self._watch_rates()

    def _served(self, wish: _Wish, turn: _Turn) -> bool:
        try:
            route = self._chosen(wish)
        except NoPlace as none:
            turn.set_exception(none)
            return True
        if route is not None:
            turn.set_result(route)
        return route is not None

    def _chosen(self, wish: _Wish) -> Route | None:
        """A provider with a place taken at it; None where it has to wait for one. Raises NoPlace: all are away."""
        candidates = self._candidates(wish)
        if not candidates:
            raise NoPlace("provider_away", self._back_in())
        if self._free <= (0 if wish.lane == "high" else self._kept):
            return None
        able = [route for route in candidates if route.has_room(wish.lane) and route.token_in() == 0]
        if not able:
            return None
        route = _next(able)
        self._free -= 1
        route.enter()
        return route

    def _candidates(self, wish: _Wish) -> Sequence[Route]:
        if wish.probe is not None:
            return (wish.probe,)
        there = [route for route in self._routes if route.closed and route.name not in wish.without]
        return [route for route in there if route.weight] or there

    def _back_in(self) -> float:
        return min((route.breaker.rests() for route in self._routes), default=0.0)

    def _watch_rates(self) -> None:
        """What waits for a rate alone is looked at again when the next token comes."""
        if self._alarm is not None or not (self._high or self._others):
            return
        waits = [wait for route in self._routes if (wait := route.token_in()) > 0]
        if waits:
            self._alarm = asyncio.get_running_loop().call_later(min(waits), self._token_came)

    def _token_came(self) -> None:
        self._alarm = None
        self._hand_out()


class _Place:
    """A class of its own because every message passes here: a generator costs three times as much."""

    __slots__ = ("_pool", "_route", "_seconds", "_wish")

    def __init__(self, pool: Pool, wish: _Wish, seconds: float) -> None:
        self._pool = pool
        self._wish = wish
        self._seconds = seconds
        self._route: Route | None = None

    async def __aenter__(self) -> Route:
        self._route = route = await self._pool.entered(self._wish, self._seconds)
        return route

    async def __aexit__(self, *_: object) -> None:
        assert self._route is not None
        self._pool.left(self._route)


def _next(able: Sequence[Route]) -> Route:
    """Smooth and exact by weight: everybody's credit grows by their weight, who has most pays for all."""
    if len(able) == 1:
        return able[0]
    for route in able:
        route.credit += route.weight
    chosen = max(able, key=lambda route: route.credit)
    chosen.credit -= sum(route.weight for route in able)
    return chosen
