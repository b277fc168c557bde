"""A mixture of mails and pushes with every outcome, alone and in batches, and a caller who repeats until answered."""

import asyncio
import itertools
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import aiohttp

from carillon.contracts.channels import CHANNELS, Channel
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
_PUSHES: Final = 0.25
_IN_BATCHES: Final = 0.2
_BATCH: Final = 5
_BAD: Final[Any] = {"notification_type": "email", "user_id": "nobody", "variables": "none", "request_id": "\u0000"}
_PREFIXES: Final[Mapping[Kind, str]] = {"refused": "hard", "deferred": "soft", "opted_out": "quiet"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """One notification: when it is asked for, and how much later it is to be sent or expires. A `hasty` caller hangs up
    in the middle of the first try. Those of one `batch` are asked for together, with a bad row among them."""

    at: float
    kind: Kind
    priority: int
    later: float
    hasty: bool
    channel: Channel = "email"
    batch: int | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it is repeated."""

    wanted: Wanted
    body: dict[str, Any]
    send_at: float | None
    expires_at: float | None

    def told(self, notification_id: str | None, cancelling: Answer | None = None) -> Told:
        wanted = self.wanted
        return Told(
            self.body["request_id"],
            wanted.kind,
            notification_id,
            self.send_at,
            self.expires_at,
            cancelling,
            wanted.channel,
        )


def plan(seed: int, *, count: int, seconds: float) -> list[Wanted]:
    """The same for the same seed; every kind comes."""
    dice = random.Random(f"traffic {seed}")
    kinds: list[Kind] = [*_SHARES]
    kinds += dice.choices([*_SHARES], weights=[*_SHARES.values()], k=max(0, count - len(kinds)))
    dice.shuffle(kinds)
    alone = [
        Wanted(
            dice.random() * seconds, kind, dice.choice((2, 5, 5, 9)), dice.uniform(0.5, 5), hasty=dice.random() < 0.1
        )
        for kind in kinds[:count]
    ]
    return _varied(alone, random.Random(f"varied traffic {seed}"))


def _varied(alone: Sequence[Wanted], dice: random.Random) -> list[Wanted]:
    """Some are pushes, some come together; what they are otherwise, and when, is as it was drawn."""
    wishes = [replace(each, channel="push") if dice.random() < _PUSHES else each for each in alone]
    together = dice.sample(range(len(wishes)), int(len(wishes) * _IN_BATCHES))
    for place, number in enumerate(together):
        first = wishes[together[place - place % _BATCH]]
        wishes[number] = replace(wishes[number], at=first.at, hasty=first.hasty, batch=place // _BATCH)
    return wishes


@dataclass
class Caller:
    """Knows users of every kind and both gateways; repeats with the same `request_id` until `deadline`."""

    world: World
    client: Client
    users: dict[str, list[str]] = field(default_factory=dict)
    codes: dict[tuple[Channel, bool], str] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)
    deadline: float = 0.0
    _turn: "itertools.count[int]" = field(default_factory=itertools.count)

    async def prepare(self) -> None:
        """Templates, and a few users of every kind."""
        for channel in CHANNELS:
            for once in (True, False):
                self.codes[channel, once] = await self.client.publish(channel, at_most_once=once)
        for prefix in ("good", *_PREFIXES.values()):
            self.users[prefix] = [await self._registered(prefix) for _ in range(_OF_EACH)]

    async def _registered(self, prefix: str) -> str:
        """A user with an address and a device, by id."""
        name, wants = f"{prefix}-{uuid4().hex}", prefix != "quiet"
        user = await self.client.register(
            email=f"{name}@example.com", push_token=name, preferences={"email": wants, "push": wants}
        )
        user_id: str = user["user_id"]
        return user_id

    async def send_all(self, wishes: Sequence[Wanted], *, began: float) -> list[Told]:
        """Each at its time; what was never answered has no id."""
        groups: defaultdict[object, list[Wanted]] = defaultdict(list)
        for number, wanted in enumerate(wishes):
            groups[("alone", number) if wanted.batch is None else wanted.batch].append(wanted)

        async def one(group: Sequence[Wanted]) -> list[Told]:
            await asyncio.sleep(max(0.0, began + group[0].at - now()))
            asked = [self._request(wanted) for wanted in group]
            return await (self._send(asked[0]) if group[0].batch is None else self._send_batch(asked))

        told = await asyncio.gather(*(one(group) for group in groups.values()))
        return [each for some in told for each in some]

    def _request(self, wanted: Wanted) -> Asked:
        until = now() + wanted.later
        send_at = until if wanted.kind in {"scheduled", "cancelled"} else None
        expires_at = until if wanted.kind == "expiring" else None
        users = self.users[_PREFIXES.get(wanted.kind, "good")]
        body = {
            "notification_type": wanted.channel,
            "user_id": users[next(self._turn) % len(users)],
            "template_code": self.codes[wanted.channel, wanted.kind == "at_most_once"],
            "variables": {"name": "Ada", "link": "https://example.com/x"},
            "request_id": uuid4().hex,
            "priority": wanted.priority,
            **({"send_at": _moment(send_at)} if send_at else {}),
            **({"expires_at": _moment(expires_at)} if expires_at else {}),
        }
        return Asked(wanted, body, send_at, expires_at)

    async def _send(self, asked: Asked) -> list[Told]:
        """Nothing where it had expired before anybody took it, and the caller was told so."""
        patience = _HASTY_SECONDS if asked.wanted.hasty else _ANSWER_SECONDS
        status, data = await self._ask("POST", "/notifications", asked.body, patience=patience)
        if status == 422 and asked.expires_at is not None:
            return []
        if status not in {200, 202}:
            self._wonder(asked, f"answered {status}" if status else "")
            return [asked.told(None)]
        return [await self._taken(asked, data["notification_id"])]

    async def _send_batch(self, batch: Sequence[Asked]) -> list[Told]:
        """The bad row is refused, wherever it stands; the others are taken as if each had come alone."""
        place = len(batch) // 2
        rows = [each.body for each in batch]
        body = {"notifications": [*rows[:place], _BAD, *rows[place:]]}
        patience = _HASTY_SECONDS if batch[0].wanted.hasty else _ANSWER_SECONDS
        status, data = await self._ask("POST", "/notifications/batch", body, patience=patience)
        if status not in {200, 202, 207}:
            self._wonder(batch[0], f"its batch was answered {status}" if status else "")
            return [asked.told(None) for asked in batch]
        results = [*data["results"]]
        if "error" not in results.pop(place):
            self._wonder(batch[0], "a bad row of its batch was taken")
        told = []
        for asked, result in zip(batch, results, strict=True):
            if "notification_id" in result:
                told.append(await self._taken(asked, result["notification_id"]))
            else:
                told += await self._send(asked)  # as it is refused alone
        return told

    async def _taken(self, asked: Asked, notification_id: str) -> Told:
        cancelling = await self._cancel(notification_id) if asked.wanted.kind == "cancelled" else None
        return asked.told(notification_id, cancelling)

    def _wonder(self, asked: Asked, what: str) -> None:
        self.odd += [f"{asked.body['request_id']} ({asked.wanted.kind}): {what}"] if what else []

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
