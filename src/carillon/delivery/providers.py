"""The providers of one channel, in order of preference, each behind its own breaker and deadline."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import structlog

from carillon.delivery import crashes
from carillon.delivery.domain import Failed, ProviderAnswer
from carillon.delivery.ports import Provider
from carillon.kit.breaker import Breaker

_log = structlog.get_logger()


class Route:
    """A provider and its breaker. Whoever was admitted sends, or says `abandoned`."""

    def __init__(self, provider: Provider, breaker: Breaker) -> None:
        self.provider = provider
        self.name = provider.name
        self.breaker = breaker
        self.abandoned = breaker.abandoned

    async def send(self, item: Any, *, seconds: float) -> ProviderAnswer:
        """Never raises but for cancellation: a provider that breaks or dawdles has failed for now."""
        with self._abandoned_when_cancelled():
            answer = await self._answer(item, seconds)
        if isinstance(answer, Failed) and answer.down:
            self._failed(answer)
        else:
            self.breaker.succeeded()
        return answer

    async def _answer(self, item: Any, seconds: float) -> ProviderAnswer:
        try:
            async with asyncio.timeout(seconds):
                return await self.provider.send(item)
        except TimeoutError:
            return Failed("provider_timeout", f"no answer within {seconds:.0f} s", down=True, unknown=True)
        except Exception as error:  # noqa: BLE001 - a crash of one send is a failed attempt like any other
            _log.error("provider_crashed", provider=self.name, **crashes.told(error))
            return Failed("worker_error", type(error).__name__, unknown=True)

    def _failed(self, answer: Failed) -> None:
        before = self.breaker.state
        self.breaker.failed()
        if before == "closed" and self.breaker.state == "open":
            _log.warning("provider_breaker_opened", provider=self.name, reason=answer.reason)

    @contextlib.contextmanager
    def _abandoned_when_cancelled(self) -> Iterator[None]:
        try:
            yield
        except asyncio.CancelledError:
            self.breaker.abandoned()
            raise


class Routes:
    """Picks the first provider whose breaker lets a message pass."""

    def __init__(self, providers: Sequence[Provider], *, breaker: Callable[[], Breaker]) -> None:
        self._routes = [Route(provider, breaker()) for provider in providers]

    def pick(self) -> Route | float:
        """A route, or the seconds until one may be open again."""
        soonest = float("inf")
        for route in self._routes:
            wait = route.breaker.admit()
            if wait == 0:
                return route
            soonest = min(soonest, wait)
        return soonest

    def down(self) -> list[str]:
        """Providers that nothing is sent to at the moment."""
        return [route.name for route in self._routes if route.breaker.state == "open"]
