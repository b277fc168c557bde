"""One seed from beginning to end: a world, traffic through it, faults upon it, and the judgement."""

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.faults import STALLED, strike_all, watch_machine
from tests.chaos.judge import Harm, Verdict, judge
from tests.chaos.schedule import DEEDS, Fault, schedule, targets_of
from tests.chaos.traffic import Caller, plan
from tests.chaos.world import SOON_MISSED, Servers, World, now, world
from tests.support.client import connected

A_SECOND = 25
SETTLING_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Trial:
    """`faults` None: as many as the time allows, about one in three seconds."""

    seed: int
    count: int
    faults: int | None = None
    targets: tuple[str, ...] = tuple(DEEDS)

    @property
    def seconds(self) -> float:
        return self.count / A_SECOND


@dataclass(frozen=True, slots=True)
class Outcome:
    verdict: Verdict
    harms: list[Harm]
    seconds: float


def faults_of(trial: Trial, servers: Servers) -> list[Fault]:
    targets = targets_of(trial.seed, trial.targets, on_rabbitmq=servers.rabbitmq is not None)
    faults = trial.faults if trial.faults is not None else max(4, int(trial.seconds / 3))
    return schedule(trial.seed, faults=faults, seconds=trial.seconds, targets=targets)


async def run(trial: Trial, servers: Servers, folder: Path) -> Outcome:
    """Raises where the world cannot be made, or does not come back after a fault."""
    faults = faults_of(trial, servers)
    settings = SOON_MISSED if any(fault.deed == "purge" for fault in faults) else {}
    async with world(servers, folder, **settings) as made, connected(made.platform) as client:
        caller = Caller(made, client)
        await caller.prepare()
        return await _through(trial, made, caller, faults)


async def _through(trial: Trial, made: World, caller: Caller, faults: list[Fault]) -> Outcome:
    began, harms = now(), list[Harm]()
    over = max((fault.at + fault.seconds for fault in faults), default=0.0)
    caller.deadline = began + max(trial.seconds, over) + SETTLING_SECONDS
    watching = asyncio.create_task(watch_machine(harms))
    try:
        told, _ = await asyncio.gather(
            caller.send_all(plan(trial.seed, count=trial.count, seconds=trial.seconds), began=began),
            strike_all(made, faults, harms, began=began),
        )
        statuses = await caller.statuses(told)
        await made.collect()
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
    harms.sort(key=lambda harm: harm.name.startswith(STALLED))  # what was done is blamed before what befell
    verdict = judge(told, list(made.receipts.values()), statuses, harms)
    verdict.wrong += caller.odd + made.odd
    return Outcome(verdict, harms, now() - began)
