"""A provider that is away for long: `python -m tests.chaos.provider_down --minutes 10 --count 10000 --broker rabbitmq`.

What waits is delivered once it is back, each mail once; the breaker and the timelines tell of it, memory stays flat.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos import flood
from tests.fakes.fcm import fake_fcm, write_service_account
from tests.support.client import Client, connected
from tests.support.platform import Platform, all_in_one, five_processes
from tests.support.processes import end
from tests.support.servers import postgres_server, rabbitmq_server
from tests.support.simulator import Simulator, simulator
from tests.support.waiting import eventually

_PEOPLE, _WARM_UP = 200, 200
_UNHURRIED = {
    "CARILLON_REGISTRATIONS_PER_MINUTE": "0",
    "CARILLON_LOGINS_PER_MINUTE": "0",
    "CARILLON_LOG_LEVEL": "error",
}


@dataclass
class Seen:
    """What the outage looked like. Memory in MiB by process: before, at most while it lasted, and at its end."""

    statuses: Counter[str]
    received: Counter[str]
    attempts: Counter[int]
    timeline: list[str]
    breakers: Counter[str]
    seconds_to_deliver: float
    before: Mapping[str, float]
    samples: list[Mapping[str, float]] = field(default_factory=list)

    def grown(self, name: str) -> float:
        """How much more a process held at the end of the outage than at a third of it, in MiB."""
        return self.samples[-1][name] - self.samples[len(self.samples) // 3][name]

    def told(self) -> str:
        """For people."""
        memory = [
            f"  {name}: {self.before[name]:.0f} MiB before, {max(each[name] for each in self.samples):.0f} at most, "
            f"{self.samples[-1][name]:.0f} at the end, {self.grown(name):+.1f} in the last two thirds"
            for name in self.before
        ]
        return "\n".join(
            [
                f"ended: {dict(self.statuses)}",
                f"how often the provider took each: {dict(Counter(self.received.values()))}",
                f"attempts a notification: {dict(sorted(self.attempts.items()))}",
                f"delivered within {self.seconds_to_deliver:.0f} s of the provider's return",
                f"the breaker, asked every so often: {dict(self.breakers)}",
                f"one timeline: {', '.join(self.timeline)}",
                *memory,
            ]
        )


@contextlib.contextmanager
def platform(kind: str, provider: Simulator, folder: Path, environment: Mapping[str, str]) -> Iterator[Platform]:
    """`embedded` is one process on its own PostgreSQL, `rabbitmq` is five. Mail goes to the provider."""
    with contextlib.ExitStack() as stack:
        fcm = stack.enter_context(fake_fcm())
        write_service_account(folder / "account.json", f"{fcm.url}/token")
        whole = {
            **_UNHURRIED,
            "CARILLON_SMTP_URL": f"smtp://127.0.0.1:{provider.port}?tls=none",
            "CARILLON_FCM_URL": fcm.url,
            "CARILLON_SERVICE_ACCOUNT_FILE": str(folder / "account.json"),
            **environment,
        }
        if kind == "embedded":
            yield stack.enter_context(all_in_one(folder, whole))
        else:
            postgres = stack.enter_context(postgres_server(settings={}))
            rabbitmq = stack.enter_context(rabbitmq_server())
            yield stack.enter_context(five_processes(folder, whole, postgres, rabbitmq))


async def suffer(found: Platform, provider: Simulator, *, seconds: float, count: int) -> Seen:
    """Stop the provider, accept so many, wait, start it again, and wait until all of them have ended."""
    async with connected(found) as client:
        code = await client.publish()
        users = await flood.contacts(client, [f"p{n}-{code}@example.com" for n in range(_PEOPLE)])
        await flood.accepted(client, users, code, _WARM_UP)
        await flood.ended(client, code, _WARM_UP, within=60)
        before = flood.resident_mib(found)

        end(provider.process)
        waiting = await client.publish()
        keys = await flood.accepted(client, users, waiting, count)
        breakers, samples = await _watched(found, client, seconds)
        assert await flood.counted(client, waiting, status="pending") == count

        await asyncio.to_thread(provider.start)
        back = time.monotonic()
        statuses = await flood.ended(client, waiting, count, within=900)
        took = time.monotonic() - back
        ended = await flood.notifications(client, waiting)
        attempts = Counter(each["attempts"] for each in ended)
        hurt = max(ended, key=lambda each: int(each["attempts"]))
        timeline = await client.kinds(hurt["notification_id"])
    received = await asyncio.to_thread(flood.taken, provider)
    told = Counter({key: received[key] for key in keys})
    return Seen(statuses, told, attempts, timeline, breakers, took, before, samples)


async def _watched(found: Platform, client: Client, seconds: float) -> tuple[Counter[str], list[Mapping[str, float]]]:
    """How the breaker stood and what the processes held, until the time is over and the breaker has been open."""
    breakers, samples = Counter[str](), list[Mapping[str, float]]()
    until = time.monotonic() + seconds

    async def over() -> bool:
        breakers[await _breaker(found, client)] += 1
        samples.append(flood.resident_mib(found))
        return time.monotonic() > until and breakers["open"] > 0

    await eventually(over, within=seconds + 60, every=max(0.5, seconds / 200), says="the breaker is open")
    return breakers, samples


async def _breaker(found: Platform, client: Client) -> str:
    """As the worker's health tells it."""
    _, environment = found.environments.get("email_worker") or found.environments["up"]
    health = await client.call("GET", f"{environment['READY_URL']}/health")
    return "/".join(sorted(set(_states(health.body)))) or "untold"


def _states(health: Any) -> Iterator[str]:
    """The states of whatever is called after a provider of mail, however deep it stands."""
    if isinstance(health, dict):
        for name, value in health.items():
            if name == "states" and isinstance(value, dict):
                yield from (str(state) for provider, state in value.items() if "smtp" in provider)
            else:
                yield from _states(value)


def run(kind: str, *, seconds: float, count: int, environment: Mapping[str, str] | None = None) -> Seen:
    """The whole of it, on servers of its own."""
    with tempfile.TemporaryDirectory(prefix="carillon-outage-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with (
            simulator("smtp", "--keep", str(2 * count), folder=folder) as provider,
            platform(kind, provider, folder, environment or {}) as found,
        ):
            return asyncio.run(suffer(found, provider, seconds=seconds, count=count))


def main() -> int:
    """The exit code is 1 where anything was lost, doubled, or died of the wait."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--minutes", type=float, default=10.0)
    arguments.add_argument("--count", type=int, default=10_000)
    arguments.add_argument("--broker", choices=["embedded", "rabbitmq"], default="embedded")
    asked = arguments.parse_args()
    seen = run(asked.broker, seconds=60 * asked.minutes, count=asked.count)
    sys.stdout.write(f"{asked.count} waited {asked.minutes:g} minutes, {asked.broker}\n{seen.told()}\n")
    whole = seen.statuses == {"delivered": asked.count} and set(seen.received.values()) == {1}
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
