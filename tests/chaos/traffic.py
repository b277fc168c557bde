"""A mixture of notifications with every outcome, and a caller who repeats until there is an answer."""

import asyncio
import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import aiohttp

from tests.chaos.judge import FINAL, Answer, Kind, Told
from tests.chaos.world import World, now
from tests.support.client import Client

_SHARES: Final[Mapping[Kind, float]] = {
    "good": 0.56,
    "refused": 0.06,
    "deferred": 0.10,
    "opted_out": 0.05,
    "cancelled": 0.06,
    "scheduled": 0.06,
    "expiring": 0.06,
    "at_most_once": 0.05,
}
_ANSWER_SECONDS: Final = 4.0
_HASTY_SECONDS: Final = 0.01
_PAUSE: Final = 0.2
_OF_EACH: Final = 3
_PREFIXES: Final[Mapping[Kind, str]] = {"refused": "hard", "deferred": "soft", "opted_out": "quiet"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """One request: when it is made, and how much later it is to be sent or expires. A `hasty` caller hangs up in the
    middle of the first try."""

    at: float
    kind: Kind
    priority: int
    later: float
    hasty: bool


def plan(seed: int, *, count: int, seconds: float) -> list[Wanted]:
    """The same for the same seed; every kind comes."""
    dice = random.Random(f"traffic {seed}")
    kinds: list[Kind] = [*_SHARES]
    kinds += dice.choices([*_SHARES], weights=[*_SHARES.values()], k=max(0, count - len(kinds)))
    dice.shuffle(kinds)
    return [
        Wanted(
            dice.random() * seconds, kind, dice.choice((2, 5, 5, 9)), dice.uniform(0.5, 5), hasty=dice.random() < 0.1
        )
        for kind in kinds[:count]
    ]


@dataclass
class Caller:
    """Knows users of every kind and both gateways; repeats with the same `request_id` until `deadline`."""

    world: World
    client: Client
    users: dict[str, list[str]] = field(default_factory=dict)
    codes: dict[bool, str] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)
    deadline: float = 0.0
    _turn: "itertools.count[int]" = field(default_factory=itertools.count)

    async def prepare(self) -> None:
        """Templates, and a few users of every kind."""
        self.codes = {True: await self.client.publish(at_most_once=True), False: await self.client.publish()}
        for prefix in ("good", *_PREFIXES.values()):
            wants = {"email": prefix != "quiet", "push": True}
            found = [
                await self.client.register(email=f"{prefix}-{uuid4().hex}@example.com", preferences=wants)
                for _ in range(_OF_EACH)
            ]
            self.users[prefix] = [user["user_id"] for user in found]

    async def send_all(self, wishes: Sequence[Wanted], *, began: float) -> list[Told]:
        """Each at its time; what was never answered has no id."""

        async def one(wanted: Wanted) -> Told | None:
            await asyncio.sleep(max(0.0, began + wanted.at - now()))
            return await self.send(wanted)

        told = await asyncio.gather(*(one(wanted) for wanted in wishes))
        return [each for each in told if each is not None]

    async def send(self, wanted: Wanted) -> Told | None:
        """None: it had expired before anybody took it, and the caller was told so."""
        request_id, until = uuid4().hex, now() + wanted.later
        send_at = until if wanted.kind in {"scheduled", "cancelled"} else None
        expires_at = until if wanted.kind == "expiring" else None
        users = self.users[_PREFIXES.get(wanted.kind, "good")]
        body = {
            "notification_type": "email",
            "user_id": users[next(self._turn) % len(users)],
            "template_code": self.codes[wanted.kind == "at_most_once"],
            "variables": {"name": "Ada", "link": "https://example.com/x"},
            "request_id": request_id,
            "priority": wanted.priority,
            **({"send_at": _moment(send_at)} if send_at else {}),
            **({"expires_at": _moment(expires_at)} if expires_at else {}),
        }
        patience = _HASTY_SECONDS if wanted.hasty else _ANSWER_SECONDS
        status, data = await self._ask("POST", "/notifications", body, patience=patience)
        if status == 422 and expires_at is not None:
            return None
        if status not in {200, 202}:
            self.odd += [f"{request_id} ({wanted.kind}): answered {status}"] if status else []
            return Told(request_id, wanted.kind, None)
        cancelling = await self._cancel(data["notification_id"]) if wanted.kind == "cancelled" else None
        return Told(request_id, wanted.kind, data["notification_id"], send_at, expires_at, cancelling)

    async def statuses(self, told: Sequence[Told]) -> dict[str, str]:
        """What the API says of each, once all have ended or the time is over."""
        found: dict[str, str] = {}
        waiting = [each.notification_id for each in told if each.notification_id]
        while waiting:
            for some in _parts(waiting, 40):
                answers = await asyncio.gather(*(self._ask("GET", f"/notifications/{each}") for each in some))
                found |= {each: data["status"] for each, (code, data) in zip(some, answers, strict=True) if code == 200}
            waiting = [each for each in waiting if found.get(each) not in FINAL]
            if not waiting or now() > self.deadline:
                break
            await asyncio.sleep(0.5)
        return found

    async def _cancel(self, notification_id: str) -> Answer | None:
        status, data = await self._ask("POST", f"/notifications/{notification_id}/cancel")
        if status == 200:
            return "cancelled"
        if status == 409:
            return "already_ended" if data == "already_ended" else "already_queued"
        self.odd += [f"{notification_id}: cancelling answered {status}"] if status else []
        return None

    async def _ask(
        self, method: str, path: str, body: Any = None, *, patience: float = _ANSWER_SECONDS
    ) -> tuple[int, Any]:
        """The first answer that is none of "later", from either gateway; 0 when there is none in time. `patience` is
        for the first try alone."""
        while True:
            url = f"{self.world.gateways[next(self._turn) % 2]}/api/v1{path}"
            try:
                async with asyncio.timeout(patience):
                    answer = await self.client.call(method, url, token=self.client.application, json=body)
                if answer.status < 500 and answer.status != 429:
                    return answer.status, answer.body.get("data") or answer.body.get("error")
            except (OSError, TimeoutError, aiohttp.ClientError):
                pass  # the same again, of the other one
            patience = _ANSWER_SECONDS
            if now() > self.deadline:
                return 0, None
            await asyncio.sleep(_PAUSE)


def _parts(items: Sequence[str], size: int) -> list[Sequence[str]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
