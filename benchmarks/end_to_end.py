"""The whole way of a mail on both brokers: how many notifications a second are sustained, and what each stage costs."""

import asyncio
import contextlib
import json
import os
import signal
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from benchmarks import load
from benchmarks.cpu import family_of, resident_mib, seconds_of
from benchmarks.notifications import WARM_UP, await_reports, await_sink, list_first, post_all, posts
from benchmarks.platforms import platform, prepared
from benchmarks.stages import SHARED, shares
from tests.support.platform import Platform

STAGES = ("accept", "relay", "worker", "report", SHARED)
_PROGRAMS = {"postgres:": "PostgreSQL", "beam.smp": "RabbitMQ", "smtp_sink": "mail sink"}


@dataclass
class Spent:
    """Seconds of CPU: of each of our processes by stage, and of each program beside them."""

    processes: dict[str, dict[str, float]]
    beside: dict[str, float]

    @property
    def stages(self) -> dict[str, float]:
        return {stage: sum(each.get(stage, 0.0) for each in self.processes.values()) for stage in STAGES}

    @property
    def ours(self) -> float:
        return sum(self.stages.values())


def measure(kind: str, count: int) -> list[tuple[str, str]]:
    """(figure, value) pairs for one kind of platform."""
    with platform(kind, staged=True) as (found, port):
        return uvloop.run(_measure(found, port, count))


async def _measure(found: Platform, port: int, count: int) -> list[tuple[str, str]]:
    code, people, _ = prepared(found, 200)
    since = datetime.now(UTC)
    await post_all(found, posts(found, code, people, WARM_UP), connections=16)
    await await_sink(port, WARM_UP)
    await await_reports(found, since=since)
    requests = list_first(posts(found, code, people, count))
    await _looked_at(found)
    before, started = _beside(), time.perf_counter()
    own = {name: seconds_of([process.pid]) for name, process in found.processes.items()}
    result = await post_all(found, requests, connections=64)
    await await_sink(port, WARM_UP + count)
    seconds = time.perf_counter() - started
    await await_reports(found, since=since)
    looks = await _looked_at(found)
    spent = Spent(
        {
            name: _divided(seconds_of([process.pid]) - own[name], looks[name])
            for name, process in found.processes.items()
        },
        {name: cpu - before[name] for name, cpu in _beside().items()} | {"load generator": result.cpu},
    )
    return _figures(result, spent, found, seconds)


def _figures(result: load.Result, spent: Spent, found: Platform, seconds: float) -> list[tuple[str, str]]:
    def each(parts: dict[str, float]) -> str:
        return ", ".join(f"{name} {1e6 * cpu / result.count:,.0f}" for name, cpu in parts.items() if cpu > 0)

    everything = spent.ours + sum(spent.beside.values())
    every = [pid for process in found.processes.values() for pid in family_of(process.pid)]
    whole = {name: sum(stages.values()) for name, stages in spent.processes.items()}
    return [
        ("sustained, request to SMTP", f"{result.count / seconds:,.0f} notifications/s"),
        ("accepted meanwhile", f"{result.rate:,.0f}/s, p50 {result.percentile(0.5):.1f} ms"),
        ("CPU a notification, µs: everything", f"{1e6 * everything / result.count:,.0f}"),
        ("what two cores full of it would give", f"{2 * result.count / everything:,.0f}/s"),
        ("by stage", each(spent.stages)),
        ("by process", each(whole)),
        ("beside", each(spent.beside)),
        ("memory, our processes", f"{resident_mib(every):,.0f} MiB"),
    ]


def _divided(seconds: float, looks: dict[str, int]) -> dict[str, float]:
    return {stage: seconds * share for stage, share in shares(looks).items()}


def _beside() -> dict[str, float]:
    """CPU so far of what runs beside our processes: all of it descends from this one."""
    spent = dict.fromkeys(_PROGRAMS.values(), 0.0)
    for pid in family_of(os.getpid()):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/comm").read_text() + Path(f"/proc/{pid}/cmdline").read_text()
            name = next((name for mark, name in _PROGRAMS.items() if mark in words), None)
            if name is not None:
                spent[name] += seconds_of([pid])
    return spent


async def _looked_at(found: Platform) -> dict[str, dict[str, int]]:
    """How often each process was found at which stage since it was asked last."""
    folder, looks = found.data_dir.parent, {}
    for name, process in found.processes.items():
        file = folder / f"{process.pid}.json"
        process.send_signal(signal.SIGUSR2)
        async with asyncio.timeout(30):
            while not file.exists():  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.01)
        looks[name] = json.loads(file.read_text())
        file.unlink()
    return looks
