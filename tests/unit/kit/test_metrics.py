"""What is counted beside the hot paths is complete whenever it is read."""

import gc

from prometheus_client import REGISTRY, Gauge

from carillon.kit.telemetry.metrics import CACHE_READS, Tally, Watched, rendered

_GAUGE = Gauge("watched_by_a_test", "Seen by this test alone", ["service", "state"])


def value(state: str) -> float | None:
    return REGISTRY.get_sample_value("watched_by_a_test", {"service": "here", "state": state})


def test_a_tally_is_added_up_when_the_metrics_are_read() -> None:
    tally = Tally(CACHE_READS.labels("here", "tallied", "cached"))
    tally.count += 3

    assert b'carillon_cache_reads_total{cache="tallied",result="cached",service="here"} 3.0' in rendered()
    assert tally.count == 0


def test_what_is_watched_is_looked_at_when_the_metrics_are_read_and_pools_of_one_service_are_added_up() -> None:
    pools = [Watched(_GAUGE, "here", lambda: {"idle": 1, "busy": 2}), Watched(_GAUGE, "here", lambda: {"idle": 4})]
    rendered()

    assert (value("idle"), value("busy")) == (5, 2)

    pools.pop()
    gc.collect()
    rendered()
    assert (value("idle"), value("busy")) == (1, 2)


def test_the_version_is_told() -> None:
    assert b'carillon_build_info{python="' in rendered()
