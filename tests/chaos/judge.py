"""Compares what callers were told with what the provider received and what the API says. Pure: it knows no clock."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from carillon.contracts.channels import CHANNELS, Channel

Kind = Literal["good", "refused", "deferred", "opted_out", "cancelled", "scheduled", "expiring", "at_most_once"]
"""What is wanted of a notification: good recipients, 550 for ever, 451 now and then, who opted out, …"""

Answer = Literal["cancelled", "already_queued", "already_ended"]
"""What a cancellation was told."""

FINAL: Final = frozenset({"delivered", "failed", "suppressed", "cancelled", "expired"})
_MAY_END: Final[Mapping[Kind, frozenset[str]]] = {
    "good": frozenset({"delivered"}),
    "deferred": frozenset({"delivered"}),
    "scheduled": frozenset({"delivered"}),
    "refused": frozenset({"failed"}),
    "opted_out": frozenset({"suppressed"}),
    "cancelled": frozenset({"cancelled"}),
    "expiring": frozenset({"delivered", "expired"}),
    "at_most_once": frozenset({"delivered", "failed"}),
}
_EARLY: Final = 0.05
_BEFORE: Final = 3.0
"""A send may take so long: a fault that began within it harmed a mail that had been received by then."""


@dataclass(frozen=True, slots=True)
class Told:
    """One request and what its caller heard. Moments are seconds of one clock."""

    request_id: str
    kind: Kind
    notification_id: str | None
    send_at: float | None = None
    expires_at: float | None = None
    cancelling: Answer | None = None
    channel: Channel = "email"


@dataclass(frozen=True, slots=True)
class Receipt:
    """One mail or push that the provider took, whatever the worker heard."""

    notification_id: str
    at: float


@dataclass(frozen=True, slots=True)
class Harm:
    """A fault as it happened; `until` is when all was well again. `bound` is what was in flight at most, `channels` are
    those that it concerns. `clock`: somebody's was wrong, and with it what they held for too early or too late."""

    name: str
    since: float
    until: float
    bound: int
    channels: Sequence[Channel] = CHANNELS
    clock: bool = False


@dataclass
class Verdict:
    """Notifications by what is wrong with them, and the duplicates that a fault explains, by fault.

    `unknown` ended as such because they may go out once at most.
    """

    accepted: int = 0
    delivered: int = 0
    deliverable: int = 0
    unknown: int = 0
    unanswered: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    explained: dict[str, int] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return (
            not (self.unanswered or self.lost or self.stuck or self.wrong or self.unexplained) and self.share >= 0.995
        )

    @property
    def share(self) -> float:
        """Of what was not refused for good, taken back or out of time."""
        return self.delivered / self.deliverable if self.deliverable else 1.0


def judge(
    told: Sequence[Told], receipts: Sequence[Receipt], statuses: Mapping[str, str], harms: Sequence[Harm]
) -> Verdict:
    """`statuses` is what the API says in the end, by notification."""
    verdict = Verdict()
    received: dict[str, list[float]] = defaultdict(list)
    for receipt in sorted(receipts, key=lambda each: each.at):
        received[receipt.notification_id].append(receipt.at)
    for each in told:
        if each.notification_id is None:
            verdict.unanswered.append(f"{each.request_id} ({each.kind}) was never answered")
            continue
        verdict.accepted += 1
        concerning = [harm for harm in harms if each.channel in harm.channels]
        _judge_one(
            each, received.get(each.notification_id, []), statuses.get(each.notification_id), concerning, verdict
        )
    _judge_strangers(told, received, verdict)
    _judge_duplicates(told, received, harms, verdict)
    return verdict


def _judge_one(
    each: Told, received: Sequence[float], status: str | None, harms: Sequence[Harm], verdict: Verdict
) -> None:
    name = f"{each.notification_id} ({each.kind})"
    if status is None:
        verdict.lost.append(f"{name}: the API does not know it")
        return
    if status not in FINAL:
        verdict.stuck.append(f"{name}: still {status}, received {len(received)} times")
        return
    if status == "delivered" and not received:
        verdict.lost.append(f"{name}: said to be delivered, and the provider has nothing")
    if status not in _statuses_of(each):
        verdict.wrong.append(f"{name}: ended as {status}, received {len(received)} times")
    elif status != "delivered" and received and not _may_be_unknown(each, received, harms):
        verdict.wrong.append(f"{name}: ended as {status}, and the provider has it")
    if received and not any(harm.clock for at in received for harm in _causes(at, harms)):
        _judge_times(each, received, verdict)
    if each.kind == "at_most_once" and status == "failed":
        verdict.unknown += 1
    elif "delivered" in _statuses_of(each) and status not in {"expired", "cancelled"}:
        verdict.deliverable += 1
        verdict.delivered += status == "delivered"


def _judge_times(each: Told, received: Sequence[float], verdict: Verdict) -> None:
    name = f"{each.notification_id} ({each.kind})"
    if each.send_at is not None and received[0] < each.send_at - _EARLY:
        verdict.wrong.append(f"{name}: sent {each.send_at - received[0]:.2f} s before its time")
    if each.expires_at is not None and received[-1] > each.expires_at + _BEFORE:
        verdict.wrong.append(f"{name}: sent {received[-1] - each.expires_at:.2f} s after it expired")


def _statuses_of(each: Told) -> frozenset[str]:
    """Who was told that it is too late to cancel gets it delivered; who was told nothing gets either."""
    if each.kind != "cancelled" or each.cancelling == "cancelled":
        return _MAY_END[each.kind]
    return frozenset({"delivered"} if each.cancelling else {"delivered", "cancelled"})


def _may_be_unknown(each: Told, received: Sequence[float], harms: Sequence[Harm]) -> bool:
    """A fault between a provider's yes and the note of it leaves an unknown outcome, which some kinds end with."""
    return each.kind in {"expiring", "at_most_once"} and all(_causes(at, harms) for at in received)


def _judge_strangers(told: Sequence[Told], received: Mapping[str, Sequence[float]], verdict: Verdict) -> None:
    known = {each.notification_id for each in told}
    verdict.wrong += [f"{stranger}: received, and no caller was told of it" for stranger in received.keys() - known]


def _judge_duplicates(
    told: Sequence[Told], received: Mapping[str, Sequence[float]], harms: Sequence[Harm], verdict: Verdict
) -> None:
    """Each mail but the last had an outcome that was lost: by which fault, and no more than were in flight."""
    kinds = {each.notification_id: each.kind for each in told}
    channels = {each.notification_id: each.channel for each in told}
    blamed: Counter[str] = Counter()
    bounds = {harm.name: harm.bound for harm in harms}
    for notification_id, moments in sorted(received.items(), key=lambda item: item[1][0]):
        if len(moments) > 1 and kinds.get(notification_id) == "at_most_once":
            verdict.wrong.append(f"{notification_id} (at_most_once): received {len(moments)} times")
        concerning = [harm for harm in harms if channels.get(notification_id, "email") in harm.channels]
        for at in moments[:-1]:
            causes = [harm.name for harm in _causes(at, concerning) if blamed[harm.name] < harm.bound]
            if causes:
                blamed[causes[0]] += 1
            else:
                known = any(_causes(at, concerning))
                why = "more than were in flight" if known else "no fault explains it"
                verdict.unexplained.append(f"{notification_id}: received {len(moments)} times, {why}")
    verdict.explained = {name: count for name, count in blamed.items() if name in bounds}


def _causes(at: float, harms: Sequence[Harm]) -> list[Harm]:
    """Faults that lasted at that moment, or began before its send can have been noted."""
    return [harm for harm in harms if harm.since - _BEFORE <= at <= harm.until]
