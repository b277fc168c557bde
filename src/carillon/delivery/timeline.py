"""What is told of a delivery: endings become reports with deterministic keys: telling twice adds nothing. Pure."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from carillon.contracts.messages import DeliveryReported, DeliveryRequested, Step, StepKind
from carillon.contracts.statuses import (
    RANK_DELIVERED,
    RANK_EXPIRED,
    RANK_FAILED,
    RANK_SUPPRESSED,
    Stage,
    Status,
    rank_of_retry,
)
from carillon.contracts.users import LayerVerdict
from carillon.delivery.domain import (
    Delivered,
    Ending,
    Expired,
    PassedOver,
    Retrying,
    Suppressed,
    Undeliverable,
    Waiting,
    rung,
)
from carillon.kit.redaction import without_addresses

_LONGEST_TEXT = 500
_LONGEST_READ = 4 * _LONGEST_TEXT


@dataclass(slots=True)
class Trail:
    """What happened to a request before its ending, in order; numbered once the attempt is known."""

    steps: list[tuple[StepKind, datetime, dict[str, Any]]] = field(default_factory=list)
    span: Any = None
    """That of this handling, where traces are on."""

    def note(self, kind: StepKind, at: datetime, **detail: Any) -> None:
        self.steps.append((kind, at, {name: value for name, value in detail.items() if value is not None}))


@dataclass(frozen=True, slots=True)
class Told:
    """What a report needs to know of its surroundings: how late the next news may be."""

    now: datetime
    ladder: tuple[float, ...]
    slack: float


def report_of(request: DeliveryRequested, trail: Trail, ending: Ending, told: Told) -> DeliveryReported:
    """The report of one ending. Waiting tells nothing of the trail: nothing was tried."""
    status, stage, rank = _standing(ending)
    attempt = getattr(ending, "attempt", 0)
    own = _own_step(request.generation, ending, told.now)
    delay = ending.delay if isinstance(ending, Retrying | Waiting) else None
    return DeliveryReported(
        notification_id=request.notification_id,
        generation=request.generation,
        rank=rank,
        status=status,
        stage=stage,
        reason=own.reason if not isinstance(ending, Delivered) else None,
        error=clean(ending.error) if isinstance(ending, Undeliverable | Retrying | Expired) and ending.error else None,
        attempts=attempt,
        correlation_id=request.correlation_id,
        next_expected_at=None if delay is None else _no_later(ending, delay, told),
        steps=[*(() if isinstance(ending, Waiting) else _walked(request, trail, attempt)), own],
    )


def _standing(ending: Ending) -> tuple[Status, Stage | None, int]:
    match ending:
        case Delivered():
            return "delivered", None, RANK_DELIVERED
        case Suppressed():
            return "suppressed", None, RANK_SUPPRESSED
        case Undeliverable():
            return "failed", None, RANK_FAILED
        case Expired():
            return "expired", None, RANK_EXPIRED
        case Retrying():
            return "pending", "retrying", rank_of_retry(ending.attempt)
        case Waiting():
            return "pending", "scheduled" if ending.until else "retrying", rank_of_retry(0)


def _own_step(generation: int, ending: Ending, now: datetime) -> Step:
    detail: dict[str, Any] | None
    match ending:
        case Delivered():
            message_id = ending.provider_message_id
            detail = {"provider_message_id": identifier(message_id)} if message_id else {}
            key = f"{generation}.{ending.attempt}.delivered"
            return Step(
                key=key,
                kind="delivered",
                at=ending.at,
                attempt=ending.attempt,
                provider=ending.provider,
                detail={**detail, **_passed(ending.passed)} or None,
            )
        case Suppressed():
            detail = {"rule": ending.layer}
            if said := [_said(verdict) for verdict in ending.layers if verdict.allows is not None]:
                detail["layers"] = said
            return Step(
                key=f"{generation}.0.suppressed", kind="suppressed", at=now, reason=clean(ending.reason), detail=detail
            )
        case Undeliverable():
            return _last_step("failed", generation, ending, now)
        case Expired():
            return _last_step("expired", generation, ending, now)
        case Retrying():
            detail = {"error": clean(ending.error), "next_try_in_seconds": round(ending.delay, 1)}
            return Step(
                key=f"{generation}.{ending.attempt}.attempt_failed",
                kind="attempt_failed",
                at=now,
                reason=clean(ending.reason),
                attempt=ending.attempt,
                provider=ending.provider,
                detail={**detail, **_passed(ending.passed)},
            )
        case Waiting():
            detail = {"until": ending.until.isoformat()} if ending.until else None
            key = f"{generation}.0.waiting.{ending.mark}"
            return Step(key=key, kind="waiting", at=now, reason=ending.reason, detail=detail)


def _passed(over: tuple[PassedOver, ...]) -> dict[str, Any]:
    """The providers that were asked before in the same attempt, and why each was passed over."""
    told = [{"provider": each.provider, "reason": clean(each.reason), "error": clean(each.error)} for each in over]
    return {"passed_over": told} if told else {}


def _said(verdict: LayerVerdict) -> dict[str, Any]:
    return {"layer": clean(verdict.layer), "allows": verdict.allows, "reason": clean(verdict.reason)}


def _last_step(kind: StepKind, generation: int, ending: Undeliverable | Expired, now: datetime) -> Step:
    bound = ending.bound if isinstance(ending, Undeliverable) else None
    return Step(
        key=f"{generation}.{ending.attempt}.{kind}",
        kind=kind,
        at=now,
        reason=clean(ending.reason) if ending.reason else None,
        attempt=ending.attempt or None,
        provider=ending.provider,
        detail={
            **({"error": clean(ending.error)} if ending.error else {}),
            **({"bound": bound} if bound else {}),
            **_passed(ending.passed),
        }
        or None,
    )


def _walked(request: DeliveryRequested, trail: Trail, attempt: int) -> list[Step]:
    return [
        Step(
            key=f"{request.generation}.{attempt}.{kind}",
            kind=kind,
            at=at,
            attempt=attempt or None,
            detail=detail or None,
        )
        for kind, at, detail in trail.steps
    ]


def _no_later(ending: Ending, delay: float, told: Told) -> datetime:
    if isinstance(ending, Waiting) and ending.until is not None:
        return ending.until + timedelta(seconds=min(told.ladder, default=0.0) + told.slack)
    return told.now + timedelta(seconds=rung(delay, told.ladder) + told.slack)


def clean(text: str) -> str:
    """Anybody's words as one line that may be kept: no addresses, no control characters or lone surrogates, bounded."""
    return without_addresses(_one_line(text))[:_LONGEST_TEXT]


def identifier(text: str) -> str:
    """A provider's name for a message, as one line: it may look like an address, and is none."""
    return _one_line(text)[:_LONGEST_TEXT]


def _one_line(text: str) -> str:
    """Cut between words: half an address would not be known for one."""
    line = "".join(c if c.isprintable() else " " for c in text[:_LONGEST_READ])
    if len(text) > _LONGEST_READ:
        line = line.rpartition(" ")[0]
    return " ".join(line.encode("utf-8", "replace").decode().split())
