"""Attempt what was claimed: take a slot, send, write down what came of it, decide what follows."""

import asyncio
from dataclasses import replace

import structlog

from carillon.delivery.actions.prepare import Prepared
from carillon.delivery.actions.tools import Tools, Work
from carillon.delivery.domain import (
    Accepted,
    Delivered,
    Ending,
    Failed,
    Granted,
    Refused,
    Retrying,
    Undeliverable,
    Waiting,
    decide,
)
from carillon.delivery.ports import Settlement
from carillon.delivery.slots import NoSlot
from carillon.delivery.timeline import clean, identifier
from carillon.kit.broker.port import DeadLetter
from carillon.kit.errors import Unavailable

_log = structlog.get_logger()
_AGAIN = 2.0
_PAUSES = (0.1, 0.3, 1.0)


async def attempt(work: Work, ready: Prepared, granted: Granted, claimed_at: float, tools: Tools) -> Ending:
    """Send once within the deadline, which began with the claim. `claimed_at` is on `tools.clock`."""
    claim = Settlement(work.request.notification_id, work.request.generation, granted.claim, "released")
    deadline = claimed_at + tools.limits.send
    try:
        async with tools.slots.slot(work.lane, seconds=max(0.0, claimed_at + tools.limits.slot - tools.clock())):
            if tools.clock() > claimed_at + tools.limits.slot:
                raise NoSlot  # frozen meanwhile: the claim may be another's by now  # noqa: TRY301
            answer = await ready.route.send(ready.item, seconds=deadline - tools.clock())
    except NoSlot:
        ready.route.abandoned()
        await _settle(replace(claim, uncounted=True), claimed_at, tools)
        return Waiting("no_free_connection", _AGAIN * (0.5 + tools.chance()))
    claim = replace(claim, provider=ready.route.name)
    if isinstance(answer, Accepted):
        return await _sent(claim, granted, answer, claimed_at, tools)
    return await _not_sent(work, ready, granted, claim, answer, claimed_at, tools)


async def _sent(claim: Settlement, granted: Granted, answer: Accepted, claimed_at: float, tools: Tools) -> Delivered:
    """`sent` is written before anybody is told. If the store stays away past the lease, it is told all the same:
    handing the message back would send it twice for certain."""
    message_id = identifier(answer.provider_message_id) if answer.provider_message_id else None
    if not await _settle(replace(claim, state="sent", provider_message_id=message_id), claimed_at, tools):
        _log.warning("delivery_sent_but_not_written", notification_id=str(claim.notification_id))
    return Delivered(granted.attempt, claim.provider, message_id, tools.now())


async def _not_sent(
    work: Work,
    ready: Prepared,
    granted: Granted,
    claim: Settlement,
    answer: Refused | Failed,
    claimed_at: float,
    tools: Tools,
) -> Ending:
    if isinstance(answer, Failed) and answer.unknown and ready.at_most_once:
        answer = Refused("outcome_unknown", answer.error)
    age = work.age(tools.now()) - ready.deferred
    decision = decide(answer, granted.attempt, tools.policy, chance=tools.chance(), age=age)
    told = replace(claim, reason=clean(decision.reason), error=clean(answer.error) or None)
    if isinstance(decision, DeadLetter):
        if not await _settle(replace(told, state="failed"), claimed_at, tools):
            return Waiting("claim_lost", tools.limits.lease, silent=True)
        return Undeliverable(decision.reason, answer.error, granted.attempt, claim.provider)
    if not await _settle(told, claimed_at, tools):
        return Waiting("claim_lost", tools.limits.lease, silent=True)
    return Retrying(answer.reason, answer.error, granted.attempt, ready.route.name, decision.delay)


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
