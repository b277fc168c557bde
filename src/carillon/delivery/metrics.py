"""What is counted of deliveries by their endings, and of providers: sends, failovers, waits, how breakers stand."""

from datetime import datetime

from prometheus_client import Counter, Gauge, Histogram

from carillon.contracts.channels import LANES, Channel, Lane
from carillon.delivery.domain import Delivered, Ending, Expired, Retrying, Suppressed, Undeliverable, Waiting
from carillon.kit.telemetry.metrics import Tally

DELIVERIES = Counter(
    "carillon_deliveries_total",
    "What each handling of a message came to: one handled again, as after a retry, counts again; provider is empty "
    "where none was asked",
    ["service", "channel", "provider", "outcome"],
)
DELIVERY_SECONDS = Histogram(
    "carillon_delivery_seconds",
    "From when a notification was due until its provider had taken it, its retries included",
    ["service", "channel", "lane"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1800, 7200, 86400),
)

SENDS = Counter(
    "carillon_provider_sends_total", "Messages handed to a provider, by outcome", ["service", "provider", "outcome"]
)
FAILOVERS = Counter(
    "carillon_provider_failovers_total",
    "Messages that it took over from another provider in the same attempt",
    ["service", "provider"],
)
WAITS = Counter(
    "carillon_provider_waits_total", "Messages put off because no provider could take them", ["service", "reason"]
)
BREAKER = Gauge(
    "carillon_provider_breaker", "A provider's breaker: 0 closed, 1 half-open, 2 open", ["service", "provider"]
)

OUTCOMES: dict[type[Ending], str] = {
    Delivered: "delivered",
    Suppressed: "suppressed",
    Undeliverable: "failed",
    Expired: "expired",
    Retrying: "retried",
    Waiting: "waits",
}


class Endings:
    """Counts what deliveries have come to; a provider's label is made once. 0.3 µs a message, 2 if delivered."""

    def __init__(self, channel: Channel, *, service: str = "") -> None:
        self._channel = channel
        self._service = service
        self._tallies: dict[tuple[type[Ending], str], Tally] = {}
        self._seconds = {lane: DELIVERY_SECONDS.labels(service, channel, lane) for lane in LANES}

    def count(self, ending: Ending, lane: Lane, due_at: datetime) -> None:
        key = (type(ending), getattr(ending, "provider", None) or "")
        if (tally := self._tallies.get(key)) is None:
            labels = (self._service, self._channel, key[1], OUTCOMES[key[0]])
            tally = self._tallies[key] = Tally(DELIVERIES.labels(*labels))
        tally.count += 1
        if isinstance(ending, Delivered):
            self._seconds[lane].observe(max(0.0, (ending.at - due_at).total_seconds()))
