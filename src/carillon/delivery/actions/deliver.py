"""Deliver a batch: every message to its own ending, told before it is settled; none harms its neighbours."""

import asyncio
import logging
from collections.abc import Sequence

import structlog

from carillon.delivery import crashes, last_words, tracing
from carillon.delivery.actions.attempt import attempt
from carillon.delivery.actions.prepare import Prepared, prepare
from carillon.delivery.actions.tools import Tools, Work
from carillon.delivery.domain import (
    AlreadyFailed,
    AlreadySent,
    ClaimFound,
    Delivered,
    Ending,
    Expired,
    Granted,
    HeldElsewhere,
    Retrying,
    Suppressed,
    Undeliverable,
    Waiting,
    patience,
)
from carillon.delivery.ports import ClaimWanted
from carillon.delivery.timeline import Told, Trail, report_of
from carillon.kit.broker.port import BrokerError, DeadLetter, Done, Outcome, RetryAfter
from carillon.kit.errors import Unavailable
from carillon.kit.telemetry import correlation

_log = structlog.get_logger()
_STORE_AWAY_SECONDS = 5.0


async def deliver(batch: Sequence[Work], tools: Tools) -> Sequence[Outcome]:
    """One outcome per message, in order; one claim statement for all that are ready."""
    trails = [Trail() for _ in batch]
    tracing.begin(batch, trails, tools.channel.name)
    looked = await asyncio.gather(*(_prepared(work, trail, tools) for work, trail in zip(batch, trails, strict=True)))
    _log_steps(batch, trails)
    prepared = await _recalled(batch, looked, tools)
    claimed_at = tools.clock()
    found = iter(await _claimed(batch, prepared, tools))
    return await asyncio.gather(
        *(
            _concluded(work, trail, step, next(found) if isinstance(step, Prepared) else None, claimed_at, tools)
            for work, trail, step in zip(batch, trails, prepared, strict=True)
        )
    )


async def _prepared(work: Work, trail: Trail, tools: Tools) -> Prepared | Ending:
    correlation.bind(work.request.correlation_id)
    tracing.enter(trail)
    try:
        return await prepare(work, trail, tools)
    except Exception as error:  # noqa: BLE001 - one message's crash is no reason to fail its neighbours
        return _crashed(work, error, tools)


async def _recalled(
    batch: Sequence[Work], prepared: Sequence[Prepared | Ending], tools: Tools
) -> Sequence[Prepared | Ending]:
    """What went out on a former try went out, whatever is decided by now: such a message is told as delivered."""
    doubtful = {
        number: (work.request.notification_id, work.request.generation)
        for number, (work, step) in enumerate(zip(batch, prepared, strict=True))
        if isinstance(step, Expired)
        or (
            (work.seen_before or work.request.generation)
            and (isinstance(step, Suppressed | Undeliverable) or _put_off(step))
        )
    }
    if not doubtful:
        return prepared
    endings = list(prepared)
    try:
        sent = await tools.deliveries.sent(list(doubtful.values()))
    except Unavailable as error:
        _log.warning("claims_away", messages=len(doubtful), reason=error.message)
        for number in doubtful:
            endings[number] = _claims_away(tools)
        return endings
    for number, key in doubtful.items():
        if key in sent:
            endings[number] = _delivered(sent[key])
    return endings


def _put_off(step: Prepared | Ending) -> bool:
    return isinstance(step, Waiting) and step.until is not None


async def _claimed(
    batch: Sequence[Work], prepared: Sequence[Prepared | Ending], tools: Tools
) -> Sequence[ClaimFound | Waiting]:
    wanted = [
        ClaimWanted(work.request.notification_id, work.request.generation, step.at_most_once)
        for work, step in zip(batch, prepared, strict=True)
        if isinstance(step, Prepared)
    ]
    if not wanted:
        return ()
    try:
        return await tools.deliveries.claim(wanted)
    except Unavailable as error:
        _log.warning("claims_away", messages=len(wanted), reason=error.message)
        return [_claims_away(tools) for _ in wanted]


def _claims_away(tools: Tools) -> Waiting:
    return Waiting("claims_away", _STORE_AWAY_SECONDS * (0.5 + tools.chance()))


def _delivered(sent: AlreadySent) -> Delivered:
    return Delivered(sent.attempt, sent.provider, sent.provider_message_id, sent.at)


async def _concluded(
    work: Work,
    trail: Trail,
    step: Prepared | Ending,
    found: ClaimFound | Waiting | None,
    claimed_at: float,
    tools: Tools,
) -> Outcome:
    correlation.bind(work.request.correlation_id)
    tracing.enter(trail)
    try:
        ending = await _ended(work, step, found, claimed_at, tools) if isinstance(step, Prepared) else step
    except Exception as error:  # noqa: BLE001 - as above; the claim's lease brings the message back
        ending = _crashed(work, error, tools)
    outcome = await _told(work, trail, ending, tools)
    tracing.end(trail, ending)
    return outcome


async def _ended(
    work: Work, ready: Prepared, found: ClaimFound | Waiting | None, claimed_at: float, tools: Tools
) -> Ending:
    if isinstance(found, Granted):
        if found.lapses:
            _log.warning("delivery_claim_lapsed", notification_id=str(work.request.notification_id))
        return await attempt(work, ready, found, claimed_at, tools)
    ready.admission.abandoned()
    match found:
        case AlreadySent():
            return _delivered(found)
        case AlreadyFailed():
            return Undeliverable(found.reason, found.error, found.attempt, found.provider)
        case HeldElsewhere():
            return Waiting("held_elsewhere", found.seconds, silent=True)
        case Waiting():
            return found
    raise AssertionError(found)


def _crashed(work: Work, error: Exception, tools: Tools) -> Ending:
    """Bounded by a count of its own, since an attempt may not have been counted, and the broker counts every wait."""
    notification_id = str(work.request.notification_id)
    _log.error("delivery_crashed", notification_id=notification_id, **crashes.told(error))
    had = work.crashes + 1
    if had >= tools.policy.max_attempts:
        return Undeliverable("worker_error", type(error).__name__)
    return Waiting("worker_error", patience(work.crashes, chance=tools.chance()), crashes=had)


async def _told(work: Work, trail: Trail, ending: Ending, tools: Tools) -> Outcome:
    """The report is durable before the outcome counts; where it cannot be, the message comes again and is told then."""
    _log_ending(work, ending)
    tools.endings.count(ending, work.lane, work.request.due_at)
    outcome = _outcome(work, ending)
    if isinstance(ending, Waiting) and ending.silent:
        return outcome
    told = Told(tools.now(), tools.limits.ladder, tools.limits.lease)
    try:
        await tracing.told(report_of(work.request, trail, ending, told), tools.reports)
    except BrokerError as error:
        _log.warning("report_not_published", error=type(error).__name__)
        if not isinstance(outcome, RetryAfter) or _put_off(ending):  # the next time it is not to be silent
            return RetryAfter(patience(work.seen_before, chance=tools.chance()), "report_not_published")
    return outcome


def _outcome(work: Work, ending: Ending) -> Outcome:
    match ending:
        case Delivered() | Suppressed() | Expired():
            return Done()
        case Undeliverable():
            return DeadLetter(ending.reason, last_words.of_the_dead(ending, work.first_error))
        case Retrying():
            return RetryAfter(ending.delay, ending.reason, last_words.so_far(ending, work.first_error))
        case Waiting():
            headers = {crashes.HEADER: str(ending.crashes)} if ending.crashes else {}
            return RetryAfter(ending.delay, ending.mark, headers)


def _log_steps(batch: Sequence[Work], trails: Sequence[Trail]) -> None:
    """What the timeline tells of the way to an ending, in the same words; for who has asked for every step."""
    if not _log.is_enabled_for(logging.DEBUG):
        return
    for work, trail in zip(batch, trails, strict=True):
        request = work.request
        told = {"notification_id": str(request.notification_id), "correlation_id": request.correlation_id}
        for kind, _, detail in trail.steps:
            _log.debug("delivery_step", step=kind, **detail, **told)


def _log_ending(work: Work, ending: Ending) -> None:
    """The normal case at debug: one line a batch is what the hot path can afford."""
    if isinstance(ending, Delivered) and not _log.is_enabled_for(logging.DEBUG):
        return
    fields = {"notification_id": str(work.request.notification_id), "attempt": getattr(ending, "attempt", None)}
    match ending:
        case Delivered():
            _log.debug("delivered", **fields, provider=ending.provider)
        case Suppressed():
            _log.info("delivery_suppressed", **fields, rule=ending.layer)
        case Expired():
            _log.info("delivery_expired", **fields, reason=ending.reason)
        case Undeliverable():
            _log.warning("delivery_failed", **fields, reason=ending.reason, provider=ending.provider)
        case Retrying():
            _log.warning(
                "attempt_failed", **fields, reason=ending.reason, provider=ending.provider, again_in=ending.delay
            )
        case Waiting():
            _log.info("delivery_waits", **fields, reason=ending.reason, again_in=ending.delay)
