"""`GET /v1/users/{id}/preferences` with a token check: how many a second on one core, warm and cold, how soon at a
steady rate, and what logins do to it."""

import itertools
import json
import re
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import uvloop

from benchmarks import load
from benchmarks.cpu import family_of, seconds_of
from benchmarks.users_alone import Users, users_alone

CONNECTIONS = 64
STEADY = 2_000
WARM_PEOPLE = 2_000
LOGINS = 150
LOGINS_AT_ONCE = 8
_LAG = re.compile(r'^carillon_event_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)$', re.MULTILINE)

Figures = list[tuple[str, str]]


@dataclass
class _Asking:
    """Who asks, where."""

    users: Users
    token: str

    def requests(self, people: Iterator[str]) -> list[bytes]:
        host = self.users.host
        return [
            load.request("GET", f"/v1/users/{person}/preferences", host=host, token=self.token) for person in people
        ]

    def closed(self, title: str, people: Iterator[str]) -> Figures:
        """As many as one core gives, and what one costs it."""
        requests, pids = self.requests(people), family_of(self.users.process.pid)
        before = seconds_of(pids)
        result = load.closed(*self.users.address, iter(requests), connections=CONNECTIONS)
        spent = seconds_of(pids) - before
        each, own = (1e6 * seconds / result.count for seconds in (spent, result.cpu))
        told = f"{each:.0f} µs in the service ({1e6 / each:,.0f}/s a core), {own:.0f} µs in the generator"
        return [_rate(title, result), ("  CPU each", told)]

    def opened(self, title: str, people: Iterator[str]) -> Figures:
        requests = self.requests(people)
        result = load.opened(*self.users.address, requests, rate=STEADY, connections=CONNECTIONS)
        return [_rate(title, result)]


def _rate(title: str, result: load.Result) -> tuple[str, str]:
    assert set(result.statuses) == {200}, result.statuses
    p50, p99 = result.percentile(0.5), result.percentile(0.99)
    return title, f"{result.rate:,.0f}/s, p50 {p50:.2f} ms, p99 {p99:.2f} ms"


def measure(count: int) -> Figures:
    """(figure, value) pairs: the users service on one core, everything else, the generator too, on the other."""
    with users_alone() as users:
        people = uvloop.run(users.people(count))
        tokens = {"personal access token": uvloop.run(users.personal_access_token()), "JWT": users.log_in()}
        figures: Figures = []
        for kind, token in tokens.items():
            asking, warm = _Asking(users, token), people[:WARM_PEOPLE]
            asking.closed("", iter(warm))
            figures += asking.closed(f"warm, {kind}", itertools.islice(itertools.cycle(warm), count))
            figures += asking.opened(f"warm, {kind}, {STEADY:,}/s", itertools.islice(itertools.cycle(warm), 2 * STEADY))
        asking, each = _Asking(users, tokens["JWT"]), (count - WARM_PEOPLE) // 2
        cold = iter(people[WARM_PEOPLE:])
        figures += asking.closed("cold, each asked for once", itertools.islice(cold, each))
        figures += asking.opened(f"cold, {STEADY:,}/s", itertools.islice(cold, min(each, 2 * STEADY)))
        return figures + _measure_logins(users, asking, people[:200])


def _measure_logins(users: Users, asking: _Asking, people: Sequence[str]) -> Figures:
    body = json.dumps({"email": users.admin_email, "password": users.admin_password}).encode()
    logins = [load.request("POST", "/v1/auth/login", host=users.host, body=body)] * LOGINS
    before, started = _lags(users), time.perf_counter()
    with ThreadPoolExecutor(1) as other:
        logging_in = other.submit(
            load.closed, *users.address, iter(logins), connections=LOGINS_AT_ONCE
        )  # beside it, look-ups at a gentle rate tell what the rest of the service feels
        looked_up = load.Result(0, Counter(), [])
        while not logging_in.done():
            result = load.opened(*users.address, asking.requests(iter(people)), rate=200, connections=8)
            looked_up.statuses.update(result.statuses)
            looked_up.latencies.extend(result.latencies)
        result = logging_in.result()
    looked_up.seconds = time.perf_counter() - started
    lag = _quantiles(before, _lags(users))
    return [
        _rate(f"logins, {LOGINS_AT_ONCE} at once", result),
        ("  the event loop's lag meanwhile", lag),
        _rate("  look-ups meanwhile", looked_up),
    ]


def _lags(users: Users) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{users.host}/metrics", timeout=10) as answer:
        return {bound: float(count) for bound, count in _LAG.findall(answer.read().decode())}


def _quantiles(before: dict[str, float], after: dict[str, float]) -> str:
    counts = {bound: count - before.get(bound, 0) for bound, count in after.items()}
    whole = counts["+Inf"]

    def at(share: float) -> str:
        bound = next(bound for bound, count in counts.items() if count >= share * whole)
        return "more" if bound == "+Inf" else f"≤ {1000 * float(bound):g} ms"

    return f"p50 {at(0.5)}, p99 {at(0.99)} ({whole:.0f} looks)"
