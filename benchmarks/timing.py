"""Does the time of an answer tell whether an account exists? Login, registration and forgotten passwords, for known and
unknown addresses in turn, compared by what two samples of one distribution would show."""

import json
import math
import random
import secrets
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import load
from benchmarks.users_alone import Users, users_alone

PAIRS = 300
_WARM_UP = 20
_DRAWS = 2_000
_RARE = 0.01
_PASSWORD = "correct horse battery staple"
_WITHOUT_LIMITS = {
    f"CARILLON_USERS_{name}_PER_MINUTE": "0" for name in ("REGISTRATIONS", "LOGINS", "FAILED_LOGINS", "ACCOUNT_MAILS")
}


@dataclass
class Compared:
    """Two samples in seconds, taken in turn."""

    known: list[float]
    unknown: list[float]

    def difference(self, share: float) -> tuple[float, float, float]:
        """Of the quantiles, and in which it lies in 99 of 100 repetitions (bootstrap)."""
        dice = random.Random(1)

        def drawn(sample: list[float]) -> float:
            return _quantile(dice.choices(sample, k=len(sample)), share)

        repeated = sorted(drawn(self.known) - drawn(self.unknown) for _ in range(_DRAWS))
        found = _quantile(self.known, share) - _quantile(self.unknown, share)
        return found, repeated[_DRAWS * 5 // 1000], repeated[_DRAWS * 995 // 1000]

    @property
    def chance(self) -> float:
        """How often two samples of one distribution would differ as much: Mann and Whitney's test, two-sided."""
        n, m = len(self.known), len(self.unknown)
        tagged = sorted([(value, True) for value in self.known] + [(value, False) for value in self.unknown])
        ranks = sum(rank for rank, (_, known) in enumerate(tagged, 1) if known)
        u, mean, deviation = ranks - n * (n + 1) / 2, n * m / 2, math.sqrt(n * m * (n + m + 1) / 12)
        return math.erfc(abs(u - mean) / deviation / math.sqrt(2))

    def told(self, door: str) -> list[tuple[str, str]]:
        """The medians, and the fastest tenths, in which a machine's noise is least."""
        lines, apart = [], self.chance < _RARE
        for name, share in (("median", 0.5), ("fastest tenth", 0.1)):
            found, low, high = self.difference(share)
            apart = apart or low > 0 or high < 0
            known, unknown = _ms(_quantile(self.known, share)), _ms(_quantile(self.unknown, share))
            told = f"known {known}, unknown {unknown}: {_us(found)}, between {_us(low)} and {_us(high)}"
            lines.append((f"  {name}", told))
        verdict = "they can be told apart" if apart else "nothing that tells them apart"
        return [(door, f"{verdict} (Mann-Whitney p = {self.chance:.3f})"), *lines]


def measure(pairs: int = PAIRS) -> list[tuple[str, str]]:
    """(figure, value) pairs: what the times of each door tell; the users service on one core, one request at a time."""
    with users_alone(**_WITHOUT_LIMITS) as users:
        people = [_somebody() for _ in range(20)]
        for email in people:
            _register(users, email)
        doors = {
            "login, wrong password": ("/v1/auth/login", {"password": "wrong horse battery"}, {401}),
            "password forgotten": ("/v1/auth/password/forgot", {}, {202}),
            "registration (its answer tells: 409)": ("/v1/users", {"name": "Ada", "password": _PASSWORD}, {201, 409}),
        }
        compared = {door: _compared(users, people, *asked, pairs=pairs) for door, asked in doors.items()}
        return [line for door, found in compared.items() for line in found.told(door)]


def _compared(
    users: Users, people: Sequence[str], path: str, body: dict[str, str], statuses: set[int], *, pairs: int
) -> Compared:
    """Each pair in an order of its own; addresses of equal length, so that no byte tells."""
    dice, order, requests = random.Random(2), [], []
    for _ in range(_WARM_UP + pairs):
        for known in dice.sample((True, False), 2):
            email = dice.choice(people) if known else _somebody()
            order.append(known)
            requests.append(_request(users, path, {"email": email, **body}))
    result = load.closed(*users.address, iter(requests), connections=1)
    assert set(result.statuses) <= set(statuses), result.statuses
    taken = list(zip(order, result.latencies, strict=True))[2 * _WARM_UP :]
    return Compared([each for known, each in taken if known], [each for known, each in taken if not known])


def _somebody() -> str:
    return f"{secrets.token_hex(8)}@example.com"


def _request(users: Users, path: str, body: dict[str, str]) -> bytes:
    return load.request("POST", path, host=users.host, body=json.dumps(body).encode())


def _register(users: Users, email: str) -> None:
    body = json.dumps({"name": "Ada", "email": email, "password": _PASSWORD}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://{users.host}/api/v1/users", data=body, headers=headers, method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()


def _quantile(sample: Sequence[float], share: float) -> float:
    return sorted(sample)[int(share * len(sample))]


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.2f} ms"


def _us(seconds: float) -> str:
    return f"{1e6 * seconds:+.0f} µs"
