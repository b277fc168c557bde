"""Broadcasts that have ended leave once they are old and none of their notifications is kept; what has not, stays."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from carillon.gateway.actions.enqueue import take_turn
from carillon.gateway.actions.retire import retire
from carillon.gateway.store.retirements import Retirements
from carillon.kit.database import Database
from carillon.kit.ids import uuid7
from tests.integration.gateway.crowds import begun, call_to, crowd, terms_of
from tests.integration.gateway.house import House
from tests.integration.gateway.test_retention import At

LATER = timedelta(days=200)


async def finished(house: House, ours: Database, herald: str, **given: object) -> str:
    """A broadcast to three whose notifications have been delivered."""
    crowd(house.around, 3)
    key = await begun(house, herald, **given)
    await take_turn(terms_of(house, ours))
    await house.sql.execute("DELETE FROM gateway.outbox")
    await house.sql.execute("UPDATE gateway.notifications SET status = 'delivered'")
    return key


async def test_a_broadcast_leaves_after_the_last_of_its_notifications_and_its_request_id_is_free(
    house: House, ours: Database, herald: str
) -> None:
    body = call_to()
    key = await finished(house, ours, herald, request_id=body["request_id"])
    now = datetime.now(UTC)

    early = await retire(At(ours, now + timedelta(days=60)), 90)
    gone = await retire(At(ours, now + LATER), 90)

    assert (early["broadcasts"], gone["broadcasts"], gone["partitions"] > 0) == (0, 1, True)
    assert (await house.call("GET", f"/broadcasts/{key}", token=herald)).status == 404
    again = await house.call("POST", "/broadcasts", token=herald, json=body)
    assert (again.status, again.data["broadcast_id"] != key) == (201, True)


async def test_one_pending_notification_holds_its_broadcast(house: House, ours: Database, herald: str) -> None:
    key = await finished(house, ours, herald)
    one = await house.sql.fetchval("SELECT id FROM gateway.notifications LIMIT 1")
    await house.sql.execute("UPDATE gateway.notifications SET status = 'pending' WHERE id = $1", one)

    held = await retire(At(ours, datetime.now(UTC) + LATER), 90)
    assert (held["broadcasts"], await house.count("broadcasts")) == (0, 1)
    assert (await house.call("GET", f"/broadcasts/{key}", token=herald)).status == 200

    await house.sql.execute("UPDATE gateway.notifications SET status = 'failed' WHERE id = $1", one)
    assert (await retire(At(ours, datetime.now(UTC) + LATER), 90))["broadcasts"] == 1


async def test_a_cancelled_one_leaves_with_the_ids_that_were_given_for_it_and_one_that_has_not_ended_stays(
    house: House, ours: Database, herald: str
) -> None:
    ids = [str(uuid7()) for _ in range(1_500)]
    waiting = await begun(house, herald, audience={"user_ids": ids[:2]}, start=False)
    cancelled = await begun(house, herald, audience={"user_ids": ids}, start=False)
    await house.call("POST", f"/broadcasts/{cancelled}/cancel", token=herald)
    await take_turn(terms_of(house, ours))

    gone = await retire(At(ours, datetime.now(UTC) + LATER), 90)

    assert (gone["broadcast_recipients"], gone["broadcasts"]) == (1_500, 1)
    assert [row[0] for row in await house.sql.fetch("SELECT id FROM gateway.broadcasts")] == [UUID(waiting)]
    assert await house.count("broadcast_recipients") == 2


async def test_it_is_kept_for_its_days_since_it_ended_and_leaves_in_bites(
    house: House, ours: Database, herald: str
) -> None:
    for _ in range(4):
        young = UUID(await begun(house, herald, audience={"user_ids": [str(uuid7())]}, start=False))
    await house.sql.execute("UPDATE gateway.broadcasts SET status = 'cancelled'")
    store, later = Retirements(ours), datetime.now(UTC) + timedelta(days=1)
    await house.sql.execute("UPDATE gateway.broadcasts SET updated_at = now() + interval '2 days' WHERE id = $1", young)

    assert [await store.drop_broadcasts(later, 2), await store.drop_recipients(later, 2)] == [0, 2]
    assert [await store.drop_broadcasts(later, 1), await store.drop_broadcasts(later, 2)] == [1, 1]
    assert [await store.drop_recipients(later, 2), await store.drop_broadcasts(later, 2)] == [1, 1]
    assert [await store.drop_recipients(later, 2), await store.drop_broadcasts(later, 2)] == [0, 0]
    assert [row[0] for row in await house.sql.fetch("SELECT id FROM gateway.broadcasts")] == [young]
