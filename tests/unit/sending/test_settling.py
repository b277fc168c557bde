"""Waiting for the outcomes of a large file: everything is told once, and what stands still is not asked all over."""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

from carillon.contracts.notifications import Notification
from carillon.contracts.statuses import Status
from carillon.kit.ids import uuid7
from carillon.sdk.client import Unreachable
from carillon.sending.settling import A_ROUND, settle


class Platform:
    """Says of each notification what `status` says; `away` may make it unreachable."""

    def __init__(self, status: Callable[[UUID], Status]) -> None:
        self.status = status
        self.asked: Counter[UUID] = Counter()
        self.away = 0

    async def notification(self, notification_id: UUID) -> Notification:
        await asyncio.sleep(0)
        self.asked[notification_id] += 1
        if self.away:
            self.away -= 1
            raise Unreachable(0, "unreachable", "gone")
        now = datetime.now(UTC)
        return Notification(
            notification_id=notification_id, request_id="one", notification_type="email", user_id=uuid7(),
            template_code="welcome", priority=5, category=None, status=self.status(notification_id), stage=None,
            attempts=1, reason=None, error=None, metadata=None, correlation_id="one", created_at=now, updated_at=now,
        )  # fmt: skip


async def settled(platform: Platform, ids: list[UUID], *, seconds: float = 30) -> tuple[Counter[UUID], int]:
    ended: Counter[UUID] = Counter()
    async with asyncio.timeout(60):
        left = await settle(ids, platform, seconds=seconds, ended=lambda found: ended.update([found.notification_id]))
    return ended, left


async def test_what_has_ended_is_asked_for_and_told_once() -> None:
    ids = [uuid7() for _ in range(3 * A_ROUND)]
    platform = Platform(lambda _: "delivered")
    ended, left = await settled(platform, ids)
    assert (ended, platform.asked, left) == (Counter(ids), Counter(ids), 0)


async def test_while_nothing_moves_a_round_is_asked_and_not_everything() -> None:
    ids = [uuid7() for _ in range(10 * A_ROUND)]
    platform = Platform(lambda _: "pending")
    ended, left = await settled(platform, ids, seconds=0.15)
    assert (len(ended), left) == (0, len(ids))
    assert platform.asked.total() <= 2 * A_ROUND


async def test_a_few_that_take_their_time_hold_up_nobody_behind_them() -> None:
    ids = [uuid7() for _ in range(3 * A_ROUND)]
    slow = set(ids[: A_ROUND + 1])
    platform = Platform(lambda notification_id: "pending" if notification_id in slow else "failed")
    ended, left = await settled(platform, ids, seconds=2)
    assert set(ended) == set(ids) - slow
    assert left == len(slow)


async def test_a_platform_that_is_away_for_a_while_is_waited_for() -> None:
    ids = [uuid7() for _ in range(40)]
    platform = Platform(lambda _: "delivered")
    platform.away = 1
    assert await settled(platform, ids) == (Counter(ids), 0)
