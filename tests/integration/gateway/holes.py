"""Holes made by hand, and a reconciler beside the gateway that is told when to look."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from carillon.gateway.actions.look_up import Neighbours
from carillon.gateway.actions.reconcile import Queues, Reconciling, reconcile
from carillon.gateway.actions.replay import Replaying
from carillon.gateway.store.dead_letters import DeadLetters
from carillon.gateway.store.session import steady
from carillon.gateway.store.watched import WatchedNotifications
from carillon.gateway.watching import Bounds
from carillon.kit.database import open_database
from tests.integration.gateway.house import House

BOUNDS = Bounds(overdue=60.0, give_up=3600.0)


@asynccontextmanager
async def reconciler(house: House, queues: Queues | None = None) -> AsyncIterator[Reconciling]:
    """As the gateway has one: one for a replica."""
    async with open_database(steady(house.around.dsn), name="reconciler", size=2) as database:
        neighbours, grew = Neighbours(house.around.contacts, house.around.templates, 1.0), asyncio.Event()
        letters = Replaying(DeadLetters(database), neighbours, grew)
        store, asked = WatchedNotifications(database), queues or house.broker
        yield Reconciling(store, asked, letters, grew, BOUNDS, every=1.0, size=50)


async def pass_time(house: House, seconds: float) -> None:
    """The database's clock cannot be set: everything that it has dated becomes older."""
    moved = f"- interval '{seconds} seconds'"
    await house.sql.execute(
        f"UPDATE gateway.notifications SET created_at = created_at {moved}, updated_at = updated_at {moved}, "
        f"next_expected_at = next_expected_at {moved}, send_at = send_at {moved}, expires_at = expires_at {moved}"
    )
    await house.sql.execute(
        f"UPDATE gateway.watched_notifications SET look_at = look_at {moved}, quiet_since = quiet_since {moved}"
    )
    await house.sql.execute(f"UPDATE gateway.outbox SET available_at = available_at {moved}")


async def rounds(house: House, reconciling: Reconciling, count: int = 2) -> None:
    """Each after twice the bound. Keys are times too: what has been accepted is watched by then at the latest."""
    await watch(house)
    await reconcile(reconciling)
    for _ in range(count - 1):
        await pass_time(house, 2 * reconciling.bounds.overdue)
        await reconcile(reconciling)


async def watch(house: House) -> None:
    await house.sql.execute(
        "INSERT INTO gateway.watched_notifications (notification_id) SELECT id FROM gateway.notifications "
        "WHERE status = 'pending' ON CONFLICT DO NOTHING"
    )


async def outbox(house: House) -> dict[UUID, int]:
    """The generations of what is to be sent."""
    rows = await house.sql.fetch("SELECT notification_id, generation FROM gateway.outbox")
    return {row["notification_id"]: row["generation"] for row in rows}


async def lose(house: House, *keys: UUID) -> None:
    assert await house.sql.execute("DELETE FROM gateway.outbox WHERE notification_id = ANY($1)", list(keys)) == (
        f"DELETE {len(keys)}"
    )


async def found(house: House, key: UUID) -> dict[str, Any]:
    answer: dict[str, Any] = (await house.call("GET", f"/notifications/{key}")).data
    return answer


async def steps(house: House, key: UUID) -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = (await house.call("GET", f"/notifications/{key}/timeline")).data["steps"]
    return answer
