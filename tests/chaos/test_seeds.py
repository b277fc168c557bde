"""Short seeds of `make chaos` on both brokers: nothing lost, stuck, told wrongly, or doubled without a fault for it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chaos.__main__ import told
from tests.chaos.run import Trial, run
from tests.chaos.schedule import DEEDS, FIRST_TARGETS, schedule, targets_of
from tests.chaos.world import Servers
from tests.support import servers
from tests.support.disk import small_disk

SHORT = Trial(seed=2, count=120, faults=4, targets=("claim_holder", "gateway_1", "postgres", "provider"))
MISHAPS = ("gateway_clock", "worker_clock", "memory", "disk", "queues", "lane", "gateway_seconds")
"""Wrong clocks, the memory alarm, a full disk, an emptied queue and rubbish."""
WITHOUT_A_KILL = {
    "the gateway's clock": Trial(1, 200, faults=6, targets=MISHAPS),
    "an emptied queue beside a gateway's clock": Trial(80, 200, faults=6, targets=MISHAPS),
}
RESTARTED = 3.0
"""Seconds that a gateway takes to come back with another clock."""
pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, slots=True)
class Kept:
    """A seed that once failed, and what it found. Its targets are those of its time, and with them its schedule; of its
    traffic some have become pushes or come in batches since, the times and kinds are as they were."""

    broker: str
    trial: Trial
    found: str


KEPT_SEEDS = (
    Kept(
        "rabbitmq",
        Trial(4, 300, targets=FIRST_TARGETS),
        "a process whose connection ended before the handshake never connected again",
    ),
    Kept(
        "embedded",
        Trial(5, 1000, targets=tuple(target for target in DEEDS if target != "gateway_seconds")),
        "12 were doubled by one stop of a push worker of 10 slots, and the judge counted no more than its slots",
    ),
)


@pytest.fixture
def embedded(postgres_server: servers.PostgresServer, redis_server: servers.RedisServer) -> Servers:
    return Servers(postgres_server, redis_server)


@pytest.fixture(scope="module")
def node_of_our_own() -> Iterator[servers.RabbitServer]:
    """Other platforms of the session read the queues of the shared one."""
    with servers.rabbitmq_server() as server:
        yield server


@pytest.fixture
def rabbitmq(embedded: Servers, node_of_our_own: servers.RabbitServer) -> Servers:
    return Servers(embedded.postgres, embedded.redis, node_of_our_own)


async def hold(trial: Trial, broker: str, ground: Servers, folder: Path) -> None:
    outcome = await run(trial, ground, folder)
    line = told(outcome, seed=trial.seed, broker=broker, count=trial.count)
    assert outcome.verdict.accepted >= trial.count * 0.9, line
    assert outcome.verdict.passed, line


@pytest.mark.parametrize("broker", ["embedded", "rabbitmq"])
async def test_a_short_seed_loses_nothing(broker: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    await hold(SHORT, broker, request.getfixturevalue(broker), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("trial", WITHOUT_A_KILL.values(), ids=WITHOUT_A_KILL.keys())
@pytest.mark.parametrize("broker", ["embedded", "rabbitmq"])
async def test_what_befalls_without_a_kill_loses_nothing(
    broker: str, trial: Trial, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    await hold(trial, broker, request.getfixturevalue(broker), tmp_path)


@pytest.mark.parametrize("on_rabbitmq", [False, True])
def test_of_those_without_a_kill_one_empties_a_queue_that_has_messages_of_a_wrong_clock(*, on_rabbitmq: bool) -> None:
    trial = WITHOUT_A_KILL["an emptied queue beside a gateway's clock"]
    targets = targets_of(trial.seed, trial.targets, on_rabbitmq=on_rabbitmq)
    faults = schedule(trial.seed, faults=6, seconds=trial.seconds, targets=targets)

    clock, purge = (next(f for f in faults if f.target == target) for target in ("gateway_seconds", "queues"))
    assert clock.at + RESTARTED < purge.at + purge.seconds < clock.at + RESTARTED + clock.seconds
    assert purge.at < trial.seconds


@pytest.mark.slow
async def test_a_disk_that_is_filled_loses_nothing(redis_server: servers.RedisServer, tmp_path: Path) -> None:
    """On a small disk of its own; where none may be mounted, as in the seeds: by a limit on the files' sizes."""
    with small_disk(mebibytes=300) as disk, servers.postgres_server(disk=disk) as postgres:
        targets = ("disk", "gateway_1", "email_worker_1")
        await hold(Trial(1, 200, faults=4, targets=targets), "embedded", Servers(postgres, redis_server), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("broker", ["embedded", "rabbitmq"])
async def test_a_longer_seed_loses_nothing(
    broker: str, seed: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    await hold(Trial(seed, 300), broker, request.getfixturevalue(broker), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kept", KEPT_SEEDS, ids=lambda kept: f"{kept.broker} {kept.trial.seed}")
async def test_a_seed_that_once_failed_loses_nothing(
    kept: Kept, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    await hold(kept.trial, kept.broker, request.getfixturevalue(kept.broker), tmp_path)
