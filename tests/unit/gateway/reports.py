"""Reports as workers write them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from carillon.contracts.messages import DeliveriesReported, DeliveryReported, Step
from carillon.contracts.statuses import RANK_DELIVERED, RANK_FAILED, rank_of_retry

START = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


def step(kind: Any, *, attempt: int = 0, generation: int = 0, **fields: Any) -> Step:
    at = START + timedelta(seconds=attempt, milliseconds=len(kind))
    return Step(key=f"{generation}.{attempt}.{kind}", kind=kind, at=at, attempt=attempt or None, **fields)


def retried(key: UUID, attempt: int, *, generation: int = 0) -> DeliveryReported:
    return DeliveryReported(
        notification_id=key,
        generation=generation,
        rank=rank_of_retry(attempt),
        status="pending",
        stage="retrying",
        error="451 try later",
        attempts=attempt,
        next_expected_at=START + timedelta(minutes=attempt),
        steps=[
            step("looked_up", generation=generation),
            step("attempt_failed", attempt=attempt, generation=generation),
        ],
    )


def delivered(key: UUID, attempt: int = 1, *, generation: int = 0) -> DeliveryReported:
    return DeliveryReported(
        notification_id=key,
        generation=generation,
        rank=RANK_DELIVERED,
        status="delivered",
        attempts=attempt,
        steps=[
            step("looked_up", generation=generation),
            step("delivered", attempt=attempt, generation=generation, provider="smtp", detail={"code": 250}),
        ],
    )


def failed(key: UUID, *, generation: int = 0, reason: str = "exhausted") -> DeliveryReported:
    return DeliveryReported(
        notification_id=key,
        generation=generation,
        rank=RANK_FAILED,
        status="failed",
        reason=reason,
        attempts=8,
        steps=[step("failed", attempt=8, generation=generation, reason=reason)],
    )


def encoded(*reports: DeliveryReported) -> bytes:
    return msgspec.json.encode(DeliveriesReported(list(reports)))


def life(key: UUID) -> Sequence[DeliveryReported]:
    """Two generations: tried twice and given up, queued anew, tried and delivered."""
    return (
        retried(key, 1),
        retried(key, 2),
        failed(key),
        retried(key, 1, generation=1),
        delivered(key, 2, generation=1),
    )
