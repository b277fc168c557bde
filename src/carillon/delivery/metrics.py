"""What is counted of providers: sends by outcome, failovers, waits, and how each breaker stands."""

from prometheus_client import Counter, Gauge

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
