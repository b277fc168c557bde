"""What is done to whom and when: pure, and the same for the same seed."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Deed = Literal[
    "kill", "stop", "restart", "cut", "half_open", "latency", "ahead", "behind", "alarm", "full", "purge", "poison",
    "fast", "slow",
]  # fmt: skip
"""kill -9, SIGSTOP, SIGTERM; connections reset and refused, open but dead, slow; a clock an hour ahead or behind, the
memory alarm, no room on the disk, a queue emptied by an operator, rubbish in a queue, a clock 20 s ahead or behind."""

LONGER_THAN_LEASES: Final = (6.0, 8.0)
_LASTS: Final[Mapping[Deed, tuple[float, float]]] = {
    "kill": (0.1, 1.5),
    "stop": LONGER_THAN_LEASES,
    "restart": (0.0, 0.3),
    "cut": (0.2, 3.0),
    "half_open": (2.0, 6.0),
    "latency": (1.0, 4.0),
    "ahead": (3.0, 6.0),
    "behind": (3.0, 6.0),
    "alarm": (2.0, 5.0),
    "full": (1.0, 4.0),
    "purge": (1.5, 2.5),
    "poison": (0.0, 0.0),
    "fast": (6.0, 9.0),
    "slow": (6.0, 9.0),
}
_PROCESS: Final[tuple[Deed, ...]] = ("kill", "kill", "stop", "restart")
_LINK: Final[tuple[Deed, ...]] = ("cut", "half_open", "latency")
_BOTH: Final = (*_PROCESS, *_LINK)

DEEDS: Final[Mapping[str, Sequence[Deed]]] = {
    "gateway_1": _PROCESS,
    "gateway_2": _PROCESS,
    "relay_owner": ("kill", "stop"),
    "email_worker_1": _PROCESS,
    "email_worker_2": _PROCESS,
    "claim_holder": ("kill", "stop"),
    "users": _BOTH,
    "templates": _BOTH,
    "postgres": _BOTH,
    "rabbitmq": _BOTH,
    "redis": _BOTH,
    "provider": ("kill", "cut", "half_open", "latency"),
    "push_worker_1": _PROCESS,
    "push_worker_2": _PROCESS,
    "push_provider": ("kill", "cut", "half_open", "latency"),
    "gateway_clock": ("ahead", "behind"),
    "worker_clock": ("ahead", "behind"),
    "memory": ("alarm",),
    "disk": ("full",),
    "queues": ("purge",),
    "lane": ("poison",),
    "gateway_seconds": ("fast", "slow"),
}
"""`relay_owner` and `claim_holder` are whoever has rows or claims in hand at that moment; `memory` is RabbitMQ's,
`disk` PostgreSQL's, `queues` are those of the e-mail workers. What is added comes at the end, as a target of its own: a
seed that names its targets keeps its schedule."""

FIRST_TARGETS: Final = tuple(DEEDS)[: [*DEEDS].index("push_worker_1")]
"""For seeds of the time when there were no others."""
ONLY_ON_RABBITMQ: Final = frozenset({"rabbitmq", "memory"})
_VICTIMS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("gateway_1", "gateway_2", "relay_owner", "gateway_clock", "gateway_seconds"), "gateway"),
    **dict.fromkeys(("email_worker_1", "email_worker_2", "claim_holder", "worker_clock"), "email_worker"),
    **dict.fromkeys(("queues", "lane"), "email_worker"),
    "memory": "rabbitmq",
    "disk": "postgres",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """`at` and `seconds` count from the first request."""

    at: float
    target: str
    deed: Deed
    seconds: float

    @property
    def name(self) -> str:
        return f"{self.deed} {self.target} at {self.at:.1f} s"


def schedule(seed: int, *, faults: int, seconds: float, targets: Sequence[str]) -> list[Fault]:
    """So many faults within `seconds`, in their order. Each target has its turn before any has its second, and
    nobody is harmed again before the fault before is over."""
    dice = random.Random(f"schedule {seed}")
    turns: list[str] = []
    while len(turns) < faults:
        turns += dice.sample(list(targets), len(targets))
    free: dict[str, float] = {}
    made = []
    for place, target in enumerate(turns[:faults]):
        deed = dice.choice(DEEDS[target])
        at = max((place + dice.random()) * seconds / faults, free.get(victim_of(target), 0.0))
        lasts = dice.uniform(*_LASTS[deed])
        free[victim_of(target)] = at + lasts + 1.0
        made.append(Fault(round(at, 2), target, deed, round(lasts, 2)))
    return sorted(made, key=lambda fault: fault.at)


def victim_of(target: str) -> str:
    """Those who may be the same process, or would spoil each other's fault, have one turn."""
    return _VICTIMS.get(target, target)


def targets_of(seed: int, targets: Sequence[str], *, on_rabbitmq: bool) -> list[str]:
    """Whom a seed may harm. What an operator empties is found by its time, which a gateway with a wrong clock has put
    elsewhere, so that it is found later by as much: in odd seeds they are an hour wrong, in even ones, which have
    emptied queues as well, 20 s."""
    without = {"queues", "gateway_seconds"} if seed % 2 else {"gateway_clock"}
    return [target for target in targets if target not in without and (on_rabbitmq or target not in ONLY_ON_RABBITMQ)]
