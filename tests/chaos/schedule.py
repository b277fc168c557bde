"""What is done to whom and when: pure, and the same for the same seed."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Deed = Literal["kill", "stop", "restart", "cut", "half_open", "latency"]
"""kill -9, SIGSTOP, SIGTERM; connections reset and refused, open but dead, slow."""

LONGER_THAN_LEASES: Final = (6.0, 8.0)
_LASTS: Final[Mapping[Deed, tuple[float, float]]] = {
    "kill": (0.1, 1.5),
    "stop": LONGER_THAN_LEASES,
    "restart": (0.0, 0.3),
    "cut": (0.2, 3.0),
    "half_open": (2.0, 6.0),
    "latency": (1.0, 4.0),
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
}
"""`relay_owner` and `claim_holder` are whoever has rows or claims in hand at that moment."""


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
    """Those who may be the same process have one turn."""
    if target in {"gateway_1", "gateway_2", "relay_owner"}:
        return "gateway"
    return "email_worker" if target in {"email_worker_1", "email_worker_2", "claim_holder"} else target
