"""A schedule follows from its seed, and leaves nobody out."""

import itertools

import pytest

from tests.chaos.schedule import DEEDS, LONGER_THAN_LEASES, schedule, victim_of
from tests.chaos.traffic import plan

SEEDS = range(1, 21)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_is_a_schedule(seed: int) -> None:
    made = [schedule(seed, faults=14, seconds=40, targets=list(DEEDS)) for _ in range(2)]
    assert made[0] == made[1]
    assert made[0] != schedule(seed + 1, faults=14, seconds=40, targets=list(DEEDS))


@pytest.mark.parametrize("seed", SEEDS)
def test_everybody_is_harmed_and_nobody_twice_at_once(seed: int) -> None:
    faults = schedule(seed, faults=24, seconds=60, targets=list(DEEDS))
    assert {fault.target for fault in faults} == set(DEEDS)
    for victim in {victim_of(fault.target) for fault in faults}:
        of_one = [fault for fault in faults if victim_of(fault.target) == victim]
        assert all(first.at + first.seconds < then.at for first, then in itertools.pairwise(of_one))


def test_every_deed_is_done_to_somebody_and_stops_outlast_the_leases() -> None:
    faults = [fault for seed in SEEDS for fault in schedule(seed, faults=14, seconds=40, targets=list(DEEDS))]
    assert {fault.deed for fault in faults} == {deed for deeds in DEEDS.values() for deed in deeds}
    assert min(fault.seconds for fault in faults if fault.deed == "stop") >= LONGER_THAN_LEASES[0] > 5


@pytest.mark.parametrize("seed", SEEDS)
def test_traffic_follows_from_its_seed_and_has_every_kind(seed: int) -> None:
    wishes = plan(seed, count=150, seconds=6)
    assert wishes == plan(seed, count=150, seconds=6)
    assert len({wanted.kind for wanted in wishes}) == 8
    assert len(wishes) == 150
