"""A schedule follows from its seed, and leaves nobody out."""

import itertools

import pytest

from tests.chaos.schedule import DEEDS, FIRST_TARGETS, LONGER_THAN_LEASES, schedule, targets_of, victim_of
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
    assert {wanted.channel for wanted in wishes} == {"email", "push"}
    assert len(wishes) == 150


def test_those_of_a_batch_are_asked_for_at_one_moment() -> None:
    batches: dict[int, list[float]] = {}
    for wanted in plan(1, count=150, seconds=6):
        if wanted.batch is not None:
            batches.setdefault(wanted.batch, []).append(wanted.at)
    assert len(batches) == 6
    assert all(len(moments) == 5 and len({*moments}) == 1 for moments in batches.values())


def test_a_kept_seed_has_the_schedule_of_its_time() -> None:
    names = [fault.name for fault in schedule(4, faults=4, seconds=12, targets=FIRST_TARGETS)]
    assert names == [
        "half_open provider at 0.6 s",
        "kill postgres at 4.4 s",
        "stop claim_holder at 8.2 s",
        "kill rabbitmq at 11.2 s",
    ]


def test_no_seed_empties_queues_while_a_gateway_is_an_hour_wrong_and_rabbitmq_s_faults_are_its_own() -> None:
    of = {"queues", "gateway_clock", "gateway_seconds"}
    for seed in SEEDS:
        found = of & {*targets_of(seed, list(DEEDS), on_rabbitmq=True)}
        assert found == ({"gateway_clock"} if seed % 2 else {"queues", "gateway_seconds"})
    assert not {"rabbitmq", "memory"} & {*targets_of(1, list(DEEDS), on_rabbitmq=False)}
