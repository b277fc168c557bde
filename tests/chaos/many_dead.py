"""Ten thousand dead letters of three causes: `python -m tests.chaos.many_dead --count 10000 --broker rabbitmq`.

They are grouped, rehearsed and replayed by cause, by two callers at once; nobody gets anything twice.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos import flood
from tests.chaos.provider_down import platform
from tests.support.client import Client, connected
from tests.support.platform import QUICK, Platform
from tests.support.simulator import Simulator, simulator
from tests.support.waiting import eventually

CAUSES = {"recipient_refused": 0.4, "recipient_deferred": 0.3, "missing_variable": 0.3}
_PEOPLE, _UNWILLING = 40, 2
_ENVIRONMENT = {**QUICK, "CARILLON_MAX_ATTEMPTS": "2", "CARILLON_TEMPLATE_FRESH_SECONDS": "0"}
_RULES: list[dict[str, Any]] = [
    {"do": "refuse", "to": "gone-*", "code": 550, "text": "5.1.1 No such mailbox"},
    {"do": "refuse", "to": "busy-*", "code": 451, "text": "4.7.1 Come again"},
]


@dataclass
class Seen:
    """Counts by cause, and how often the provider took a notification: {times: notifications}."""

    dead: dict[str, int] = field(default_factory=dict)
    rehearsed: dict[str, Counter[str]] = field(default_factory=dict)
    replayed: dict[str, Counter[str]] = field(default_factory=dict)
    again: Counter[str] = field(default_factory=Counter)
    before: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    unwilling: int = 0
    taken: Counter[int] = field(default_factory=Counter)
    taken_of_unwilling: int = 0
    timeline: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def told(self) -> str:
        """For people."""
        return "\n".join(
            [
                f"dead, by cause: {self.dead}",
                f"what a dry run would do: {_plain(self.rehearsed)}; statuses afterwards: {dict(self.before)}",
                f"what two replays at once did: {_plain(self.replayed)}",
                f"what a last replay of everything did: {dict(self.again)}",
                f"ended: {dict(self.statuses)}; {self.unwilling} are for those who opted out meanwhile",
                f"taken by the provider so often: {dict(self.taken)}; of those who opted out {self.taken_of_unwilling}",
                f"one timeline: {', '.join(self.timeline)}",
                f"seconds: { {name: round(took, 1) for name, took in self.seconds.items()} }",
            ]
        )


def _plain(counts: Mapping[str, Counter[str]]) -> dict[str, dict[str, int]]:
    return {cause: dict(found) for cause, found in counts.items()}


@dataclass
class Stage:
    """Who is there, what was sent to whom, and what has been seen so far."""

    client: Client
    provider: Simulator
    code: str
    incomplete: str
    keys: dict[str, dict[str, str]] = field(default_factory=dict)
    unwilling: set[str] = field(default_factory=set)
    seen: Seen = field(default_factory=Seen)

    async def die(self, count: int) -> None:
        """So many notifications, all of which fail."""
        counts = {cause: int(count * share) for cause, share in CAUSES.items()}
        names = {"recipient_refused": "gone", "recipient_deferred": "busy", "missing_variable": "fine"}
        began = time.monotonic()
        for cause, number in counts.items():
            addresses = [f"{names[cause]}-{n}-{self.code}@example.com" for n in range(_PEOPLE)]
            users = await flood.contacts(self.client, addresses)
            code = self.incomplete if cause == "missing_variable" else self.code
            self.keys[cause] = await flood.accepted(self.client, users, code, number)
            if cause == "recipient_refused":
                self.unwilling = set(users[:_UNWILLING])
        await self.ended(within=900)

        async def all_kept() -> bool:
            self.seen.dead = {group["cause"]: group["count"] for group in await self.groups()}
            return sum(self.seen.dead.values()) >= sum(counts.values())

        await eventually(all_kept, within=300, every=0.5, says="every dead letter is kept")
        self.seen.seconds["until all were dead and kept"] = time.monotonic() - began

    async def ended(self, *, within: float) -> Counter[str]:
        """The statuses of all, once none is pending."""
        incomplete = len(self.keys["missing_variable"])
        others = sum(map(len, self.keys.values())) - incomplete
        found = await flood.ended(self.client, self.code, others, within=within)
        return found + await flood.ended(self.client, self.incomplete, incomplete, within=within)

    async def groups(self) -> list[dict[str, Any]]:
        url = f"{self.client.platform.gateway}/api/v1/dead_letters?limit=100"
        found: list[dict[str, Any]] = (await self.client.call("GET", url, token=self.client.admin)).data
        return found

    async def replay(self, cause: str, *, dry_run: bool = False) -> Counter[str]:
        """All of a cause, a thousand a call: how many were replayed, or skipped for which reason."""
        url, counts = f"{self.client.platform.gateway}/api/v1/dead_letters/replay", Counter[str]()
        body: dict[str, Any] = {"cause": cause, "dry_run": dry_run}
        while True:
            answer = await self.client.call("POST", url, token=self.client.admin, json=body)
            assert answer.status == 200, answer.body
            counts.update({"replayed": answer.data["replayed"], **answer.data["skipped"]})
            if not answer.data["more"]:
                return +counts
            body["after"] = answer.data["next_after"]

    async def opt_out(self) -> None:
        """Some refuse by now; returns once the gateway has heard of it."""
        for user_id in self.unwilling:
            url = f"{self.client.platform.users}/api/v1/users/{user_id}/preferences"
            refused = await self.client.call("PATCH", url, token=self.client.admin, json={"email": False})
            assert refused.status == 200, refused.body
        theirs = [key for key, user in self.keys["recipient_refused"].items() if user in self.unwilling]
        self.seen.unwilling = len(theirs)

        async def heard() -> bool:
            rehearsed = await self.replay("recipient_refused", dry_run=True)
            return rehearsed["not_allowed"] == len(theirs)

        await eventually(heard, within=60, every=1, says="the gateway has heard of the opt-outs")

    async def replay_all(self) -> None:
        """Cause by cause, two callers at the same time, each once the one before has ended."""
        for cause in CAUSES:
            began = time.monotonic()
            both = await asyncio.gather(self.replay(cause), self.replay(cause))
            self.seen.replayed[cause] = both[0] + both[1]
            self.seen.seconds[f"replay of {cause}"] = time.monotonic() - began
        self.seen.statuses = await self.ended(within=900)
        self.seen.seconds["until all were delivered"] = time.monotonic() - began


async def bury_and_raise(found: Platform, provider: Simulator, *, count: int) -> Seen:
    """Everything in order: they die, are looked at, the causes go away, they are replayed."""
    async with connected(found) as client:
        stage = Stage(client, provider, await client.publish(), await client.publish(subject="Order {{ number }}"))
        await asyncio.to_thread(provider.ask, "PUT", "/rules", {"rules": _RULES})
        await stage.die(count)
        await stage.opt_out()
        stage.seen.rehearsed = {cause: await stage.replay(cause, dry_run=True) for cause in CAUSES}
        stage.seen.before = await stage.ended(within=10)

        await asyncio.to_thread(provider.ask, "PUT", "/rules", {"rules": []})
        await client.publish_more(stage.incomplete, subject="Your order", body_text="See {{ link }}.")
        await stage.replay_all()
        for cause in CAUSES:
            stage.seen.again.update(await stage.replay(cause))
        stage.seen.timeline = await client.kinds(next(iter(stage.keys["recipient_deferred"])))
    received = await asyncio.to_thread(flood.taken, provider)
    everybody = {key: user for keys in stage.keys.values() for key, user in keys.items()}
    stage.seen.taken = Counter(received[key] for key in everybody)
    stage.seen.taken_of_unwilling = sum(received[key] for key, user in everybody.items() if user in stage.unwilling)
    return stage.seen


def run(kind: str, *, count: int) -> Seen:
    """The whole of it, on servers of its own."""
    with tempfile.TemporaryDirectory(prefix="carillon-dead-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with (
            simulator("smtp", "--keep", str(4 * count), folder=folder) as provider,
            platform(kind, provider, folder, _ENVIRONMENT) as found,
        ):
            return asyncio.run(bury_and_raise(found, provider, count=count))


def main() -> int:
    """The exit code is 1 where anything went out twice, to whoever refused, or not at all."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--count", type=int, default=10_000)
    arguments.add_argument("--broker", choices=["embedded", "rabbitmq"], default="embedded")
    asked = arguments.parse_args()
    seen = run(asked.broker, count=asked.count)
    sys.stdout.write(f"{asked.count} dead letters, {asked.broker}\n{seen.told()}\n")
    whole = seen.taken == {1: asked.count - seen.unwilling, 0: seen.unwilling}
    return 0 if whole and not seen.taken_of_unwilling and not seen.again["replayed"] else 1


if __name__ == "__main__":
    sys.exit(main())
