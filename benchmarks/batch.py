"""Acceptance in bulk: how many notifications a second batches of a thousand bring in, and what one costs in CPU."""

import itertools
import json
from collections.abc import Iterator
from uuid import uuid4

import uvloop

from benchmarks import load
from benchmarks.cpu import family_of, seconds_of
from benchmarks.platforms import platform, prepared
from tests.support.platform import Platform
from tests.support.processes import end

Figures = list[tuple[str, str]]
EACH = 1_000
PEOPLE = 2_000
CONNECTIONS = 2


def batches(found: Platform, code: str, people: Iterator[str], count: int) -> Iterator[bytes]:
    """`count` notifications in requests of a thousand, each with a `request_id` of its own."""
    host, token, run = found.gateway.partition("://")[2], found.credentials["application_token"], uuid4().hex
    bodies = (
        {
            "notification_type": "email",
            "user_id": person,
            "template_code": code,
            "variables": {"name": "Ada", "link": "https://example.com/x"},
            "request_id": f"{run}-{number}",
            "priority": 3,
        }
        for number, person in zip(range(count), people, strict=False)
    )
    while piece := list(itertools.islice(bodies, EACH)):
        body = json.dumps({"notifications": piece}).encode()
        yield load.request("POST", "/api/v1/notifications/batch", host=host, token=token, body=body)


def measure(count: int) -> Figures:
    """(figure, value) pairs: nobody delivers; first everybody is asked about, then nobody, then the relay rests too."""
    with platform("rabbitmq") as (found, _):
        code, people, _ = prepared(found, PEOPLE)
        for worker in ("email_worker", "push_worker"):
            end(found.processes.pop(worker))
        figures = _measure(found, "people asked about, relay at work", batches(found, code, iter(people), PEOPLE))
        again = itertools.cycle(people)
        return figures + _measure(found, "people remembered, relay at work", batches(found, code, again, count))


def _measure(found: Platform, title: str, requests: Iterator[bytes]) -> Figures:
    pids, every = family_of(found.processes["gateway"].pid), list(requests)
    before = seconds_of(pids)
    host, _, port = found.gateway.partition("://")[2].partition(":")
    result = uvloop.run(load.run(host, int(port), iter(every), connections=CONNECTIONS))
    spent = seconds_of(pids) - before
    assert set(result.statuses) == {202}, result.statuses
    rate, each = result.rate * EACH, 1e6 * spent / (result.count * EACH)
    p50, p99 = result.percentile(0.5), result.percentile(0.99)
    return [
        (title, f"{rate:,.0f} notifications/s, p50 {p50:.0f} ms, p99 {p99:.0f} ms a batch"),
        ("  CPU a notification, gateway until the last 202", f"{each:.0f} µs"),
    ]
