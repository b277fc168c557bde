"""Preference look-ups with a token check: how many a second, and what one costs."""

import itertools

import uvloop

from benchmarks import load
from benchmarks.cpu import family_of, seconds_of
from benchmarks.platforms import platform, prepared
from tests.support.platform import Platform


async def _read(found: Platform, people: list[str], token: str, count: int) -> load.Result:
    host, _, port = found.users.partition("://")[2].partition(":")
    paths = (f"/v1/users/{person}/preferences" for person in itertools.cycle(people))
    requests = [load.request("GET", path, host=host, token=token) for path in itertools.islice(paths, count)]
    result = await load.run(host, int(port), iter(requests), connections=32)
    assert set(result.statuses) == {200}, result.statuses
    return result


def measure(count: int) -> list[tuple[str, str]]:
    """(figure, value) pairs: the users service as a process of its own, its cache warm."""
    with platform("rabbitmq") as (found, _):
        _, people, admin = prepared(found, 200)
        uvloop.run(_read(found, people, admin, 2_000))
        pids = family_of(found.processes["users"].pid)
        before = seconds_of(pids)
        result = uvloop.run(_read(found, people, admin, count))
        spent = seconds_of(pids) - before
        return [
            (
                "preference look-ups, cache warm",
                f"{result.rate:,.0f}/s, p50 {result.percentile(0.5):.1f} ms, p99 {result.percentile(0.99):.1f} ms",
            ),
            ("CPU a look-up, users process", f"{1e6 * spent / count:,.0f} µs"),
        ]
