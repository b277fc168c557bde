"""The Prometheus metrics that every service shares; a service binds its own label once, ahead of the hot path."""

import weakref

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, generate_latest

_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

HTTP_SECONDS = Histogram(
    "carillon_http_request_seconds",
    "Time to answer a request",
    ["service", "method", "route", "status"],
    buckets=_QUICK,
)
MESSAGES = Counter("carillon_messages_total", "Messages handled, by outcome", ["service", "queue", "outcome"])
PUBLISHED = Counter("carillon_published_total", "Messages handed to the broker", ["service", "queue"])
QUEUE_READY = Gauge("carillon_queue_ready", "Messages waiting in a queue", ["service", "queue"])
QUEUE_IN_FLIGHT = Gauge("carillon_queue_in_flight", "Messages handed out and not settled", ["service", "queue"])
QUEUE_LAG = Gauge("carillon_queue_lag_seconds", "Age of the oldest message waiting", ["service", "queue"])
OUTBOX_WAITING = Gauge("carillon_outbox_waiting", "Committed messages not yet handed to the broker", ["service"])
RECONCILED = Counter(
    "carillon_reconciled_total", "Notifications that had fallen silent, by what was done", ["service", "outcome"]
)
LOOP_RESTARTS = Counter(
    "carillon_loop_restarts_total", "Background loops restarted after a failure", ["service", "loop"]
)
FILL_WAITS = Counter("carillon_cache_fill_waits_total", "Fills that waited for others to end first", ["service"])
LOOP_LAG = Histogram(
    "carillon_event_loop_lag_seconds", "How late a timer of the event loop comes, looked at every 50 ms", buckets=_QUICK
)
ROWS_RETIRED = Counter("carillon_rows_retired_total", "Rows dropped because they were old", ["service", "table"])
PARTITIONS_RETIRED = Counter("carillon_partitions_retired_total", "Months dropped as a whole", ["service"])
CACHE_READS = Counter("carillon_cache_reads_total", "Look-ups in a cache, by result", ["service", "cache", "result"])


class Tally:
    """Counts for one child of a counter without its lock (0.1 instead of 1.2 µs); added up whenever it is read."""

    def __init__(self, counter: Counter) -> None:
        self.count = 0
        self._counter = counter
        _tallies.add(self)

    def add_up(self) -> None:
        count, self.count = self.count, 0
        if count:
            self._counter.inc(count)


_tallies: weakref.WeakSet[Tally] = weakref.WeakSet()


def rendered() -> bytes:
    """Everything measured in this process, in the Prometheus text format."""
    for tally in list(_tallies):
        tally.add_up()
    return generate_latest(REGISTRY)
