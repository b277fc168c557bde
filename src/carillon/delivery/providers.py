"""One provider of a channel behind its own breaker, limits and deadline."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog

from carillon.contracts.channels import Lane
from carillon.delivery import crashes, metrics, tracing
from carillon.delivery.domain import Accepted, Failed, ProviderAnswer, Refused
from carillon.delivery.ports import Provider
from carillon.delivery.rate import Rate
from carillon.kit.breaker import Breaker, State
from carillon.kit.telemetry.metrics import Tally

_log = structlog.get_logger()
_SHOWN: dict[State, int] = {"closed": 0, "half_open": 1, "open": 2}


class Route:
    """A provider, its breaker, and how much of what it may be given is in use. `credit` is its turn by weight."""

    def __init__(
        self,
        provider: Provider,
        breaker: Breaker,
        *,
        service: str = "",
        connections: int = 10,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        terms = provider.terms
        self.name = provider.name
        self.breaker = breaker
        self.weight = terms.weight
        self.credit = 0
        self.rate = Rate(terms.rate, clock=clock) if terms.rate else None
        self._provider = provider
        self._free = terms.connections or connections
        self._kept = kept_of(self._free)
        self._sends = {
            outcome: Tally(metrics.SENDS.labels(service, self.name, outcome))
            for outcome in ("accepted", "refused", "failed", "unknown")
        }
        metrics.BREAKER.labels(service, self.name).set_function(lambda: _SHOWN[breaker.state])
        self._failovers = metrics.FAILOVERS.labels(service, self.name)

    @property
    def closed(self) -> bool:
        return self.breaker.state == "closed"

    def has_room(self, lane: Lane) -> bool:
        return self._free > (0 if lane == "high" else self._kept)

    def token_in(self) -> float:
        """Seconds until its rate lets a message pass."""
        return self.rate.wait() if self.rate else 0.0

    def enter(self) -> None:
        """Only where there is room and a token."""
        self._free -= 1
        if self.rate:
            self.rate.take()

    def leave(self) -> None:
        self._free += 1

    def took_over(self) -> None:
        self._failovers.inc()

    async def send(self, item: Any, *, seconds: float, probe: bool = False) -> ProviderAnswer:
        """Never raises but for cancellation: a provider that breaks or dawdles has failed for now.

        Once the breaker has opened it learns from its probe alone: what began before tells of times gone by.
        """
        try:
            answer = await tracing.sent(self.name, self._answer(item, seconds))
        except asyncio.CancelledError:
            if probe:
                self.breaker.abandoned()
            raise
        self._sends[_outcome(answer)].count += 1
        if probe or self.closed:
            self._judge(answer)
        return answer

    async def _answer(self, item: Any, seconds: float) -> ProviderAnswer:
        try:
            async with asyncio.timeout(seconds):
                return await self._provider.send(item)
        except TimeoutError:
            return Failed("provider_timeout", f"no answer within {seconds:.0f} s", down=True, unknown=True)
        except Exception as error:  # noqa: BLE001 - a crash of one send is a failed attempt like any other
            _log.error("provider_crashed", provider=self.name, **crashes.told(error))
            return Failed("worker_error", type(error).__name__, unknown=True)

    def _judge(self, answer: ProviderAnswer) -> None:
        before = self.breaker.state
        if not isinstance(answer, Failed) or not answer.down:
            self.breaker.succeeded()
            if before != "closed":
                _log.info("provider_breaker_closed", provider=self.name)
            return
        self.breaker.failed()
        if before == "closed" and self.breaker.state == "open":
            _log.warning("provider_breaker_opened", provider=self.name, reason=answer.reason)


def kept_of(places: int) -> int:
    """How many of them only the high lane may take: a fifth, one at least where there are two."""
    return max(1, places // 5) if places > 1 else 0


def _outcome(answer: ProviderAnswer) -> str:
    match answer:
        case Accepted():
            return "accepted"
        case Refused():
            return "refused"
        case Failed():
            return "unknown" if answer.unknown else "failed"
