"""Attempt what was claimed: find a provider, send, write down what came of it, decide what follows."""

import asyncio
from dataclasses import dataclass, replace

import structlog

from carillon.delivery.actions.prepare import Prepared
from carillon.delivery.actions.tools import Tools, Work
from carillon.delivery.domain import (
    Accepted,
    Delivered,
    Ending,
    Failed,
    Granted,
    PassedOver,
    ProviderAnswer,
    Refused,
    Retrying,
    Undeliverable,
    Waiting,
    bound_met,
    decide,
    in_time,
    next_may_try,
)
from carillon.delivery.pool import ANY, NoPlace
from carillon.delivery.ports import Settlement
from carillon.delivery.timeline import clean, identifier
from carillon.kit.broker.port import DeadLetter
from carillon.kit.errors import Unavailable

_log = structlog.get_logger()
_AGAIN = 2.0
_PAUSES = (0.1, 0.3, 1.0)


@dataclass(frozen=True, slots=True)
class _Tried:
    """The last provider that was asked, what it said, and those that had to pass."""

    provider: str
    answer: ProviderAnswer
    passed: tuple[PassedOver, ...] = ()


async def attempt(work: Work, ready: Prepared, granted: Granted, claimed_at: float, tools: Tools) -> Ending:
    """Send once within the deadline, which began with the claim. `claimed_at` is on `tools.clock`."""
    claim = Settlement(work.request.notification_id, work.request.generation, granted.claim, "released")
    try:
        tried = await _handed_over(work, ready, claimed_at, tools)
    except NoPlace as none:
        ready.admission.abandoned()
        await _settle(replace(claim, uncounted=True), claimed_at, tools)
        again = none.seconds if none.seconds is not None else _AGAIN * (0.5 + tools.chance())
        waiting = Waiting(none.reason, max(again, 1.0))
        return in_time(waiting, work.request.expires_at, tools.now(), tools.limits.ladder)
    claim = replace(claim, provider=tried.provider)
    if isinstance(tried.answer, Accepted):
        return await _sent(claim, granted, tried.answer, tried.passed, claimed_at, tools)
    return await _not_sent(work, ready, granted, claim, tried, claimed_at, tools)


async def _handed_over(work: Work, ready: Prepared, claimed_at: float, tools: Tools) -> _Tried:
    """Ask one provider, and the next where nobody can have the message yet. Raises NoPlace where none was asked."""
    tried = await _asked(work, ready, claimed_at, tools)
    while next_may_try(tried.answer):
        try:
            tried = await _asked(work, ready, claimed_at, tools, before=tried)
        except NoPlace:
            return tried
    return tried


async def _asked(
    work: Work, ready: Prepared, claimed_at: float, tools: Tools, *, before: _Tried | None = None
) -> _Tried:
    """Whoever waited too long for a place does not begin: a send that begins has time to end within the claim."""
    passed = () if before is None else (*before.passed, _passed_over(before))
    admission = ready.admission if before is None else ANY
    latest = claimed_at + tools.limits.slot
    patience = max(0.0, latest - tools.clock())
    names = [each.provider for each in passed]
    async with tools.pool.place(work.lane, admission, seconds=patience, without=names) as route:
        # Frozen meanwhile, the claim may be another's by now; and what has expired meanwhile is not sent any more.
        if tools.clock() > latest or work.expired(tools.now()):
            raise NoPlace("no_free_connection")
        if before is not None:
            route.took_over()
            _log.info("provider_passed_over", provider=before.provider, next=route.name)
        seconds = claimed_at + tools.limits.send - tools.clock()
        answer = await route.send(ready.item, seconds=seconds, probe=admission.probe is route)
        return _Tried(route.name, answer, passed)


def _passed_over(tried: _Tried) -> PassedOver:
    assert isinstance(tried.answer, Failed)
    return PassedOver(tried.provider, tried.answer.reason, tried.answer.error)


async def _sent(
    claim: Settlement,
    granted: Granted,
    answer: Accepted,
    passed: tuple[PassedOver, ...],
    claimed_at: float,
    tools: Tools,
) -> Delivered:
    """`sent` is written before anybody is told. If the store stays away past the lease, it is told all the same:
    handing the message back would send it twice for certain."""
    message_id = identifier(answer.provider_message_id) if answer.provider_message_id else None
    if not await _settle(replace(claim, state="sent", provider_message_id=message_id), claimed_at, tools):
        _log.warning("delivery_sent_but_not_written", notification_id=str(claim.notification_id))
    return Delivered(granted.attempt, claim.provider, message_id, tools.now(), passed)


async def _not_sent(
    work: Work,
    ready: Prepared,
    granted: Granted,
    claim: Settlement,
    tried: _Tried,
    claimed_at: float,
    tools: Tools,
) -> Ending:
    answer = tried.answer
    assert not isinstance(answer, Accepted)
    if isinstance(answer, Failed) and answer.unknown and ready.at_most_once:
        answer = Refused("outcome_unknown", answer.error)
    age = work.age(tools.now()) - ready.deferred
    decision = decide(answer, granted.attempt, ready.policy, chance=tools.chance(), age=age)
    told = replace(claim, reason=clean(decision.reason), error=clean(answer.error) or None)
    if isinstance(decision, DeadLetter):
        if not await _settle(replace(told, state="failed"), claimed_at, tools):
            return Waiting("claim_lost", tools.limits.lease, silent=True)
        bound = bound_met(answer, granted.attempt, ready.policy)
        return Undeliverable(decision.reason, answer.error, granted.attempt, claim.provider, tried.passed, bound)
    if not await _settle(told, claimed_at, tools):
        return Waiting("claim_lost", tools.limits.lease, silent=True)
    retrying = Retrying(answer.reason, answer.error, granted.attempt, tried.provider, decision.delay, tried.passed)
    wished = min(getattr(answer, "retry_after", None) or 0.0, ready.policy.cap)
    return in_time(retrying, work.request.expires_at, tools.now(), tools.limits.ladder, at_least=wished)


async def _settle(settlement: Settlement, claimed_at: float, tools: Tools) -> bool:
    """Write it while the claim stands. False: another claim came in between, or the store stayed away too long."""
    pauses = iter(_PAUSES)
    while True:
        try:
            return await tools.deliveries.settle(settlement)
        except Unavailable:
            pause = next(pauses, _PAUSES[-1])
            if tools.clock() + pause > claimed_at + tools.limits.lease:
                return False
            await asyncio.sleep(pause)
