"""Broadcasts over HTTP and a real database: everybody once, whatever is killed; paused, resumed, cancelled."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from carillon.gateway.app import end_leases
from carillon.gateway.store.broadcasts import Broadcasts
from carillon.kit.database import open_database
from tests.integration.gateway.crowds import HERALD, begun, call_to, crowd, until, written_to
from tests.integration.gateway.house import Around, House, open_house, settings_for
from tests.support.waiting import eventually

ENDED = """
UPDATE gateway.notifications SET status = $2 WHERE id = ANY(ARRAY(
    SELECT id FROM gateway.notifications WHERE broadcast_id = $1 AND status = $3 ORDER BY id LIMIT $4
))
"""
CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%gateway.%'
"""
NONSENSE: list[dict[str, Any]] = [
    {"audience": None},
    {"audience": {}},
    {"audience": {"user_ids": []}},
    {"audience": {"user_ids": ["me"]}},
    {"audience": {"user_ids": [str(uuid4())] * 10_001}},
    {"audience": {"filter": {}, "user_ids": [str(uuid4())]}},
    {"audience": {"filter": {"attributes": {"plan": None}}}},
    {"audience": {"filter": {"email": "ada@example.com"}}},
    {"audience": {"everybody": True}},
    {"variables": {"name": "Ada"}},
    {"variables": {"name": "Ada", "link": "https://example.com", "x": "\0"}},
    {"template_code": "No Code"},
    {"priority": 0},
    {"request_id": "two\nlines"},
    {"expires_at": "2020-01-01T00:00:00Z"},
    {"metadata": {"deep": "\0"}},
    {"start": "yes"},
    {"user_id": str(uuid4())},
]


async def test_everybody_who_fits_gets_one_notification_by_the_bulk_lane(house: House, herald: str) -> None:
    people = crowd(house.around, 25, page=10)
    body = call_to(category="news")

    preview = await house.call("POST", "/broadcasts/preview", token=herald, json={"audience": body["audience"]})
    first = await house.call("POST", "/broadcasts", token=herald, json=body)
    async with house.loop("broadcasts"):
        told = await until(house, herald, first.data["broadcast_id"], status="finished")
    again = await house.call("POST", "/broadcasts", token=herald, json=body)
    other = await house.call("POST", "/broadcasts", token=herald, json={**body, "priority": 9})

    assert preview.data == {"total": 25}
    assert (first.status, first.data["total"], first.data["status"]) == (201, 25, "running")
    assert (told["enqueued"], told["pending"], told["total"], told["priority"]) == (25, 25, 25, 2)
    assert sorted(await written_to(house, told["broadcast_id"])) == sorted(people)
    assert (again.status, again.data) == (200, told)
    assert (other.status, other.body["error"]) == (409, "request_id_reused")
    assert await house.sql.fetchval("SELECT count(*) FROM gateway.outbox WHERE queue = 'email.bulk.queue'") == 25
    listed = await house.call("GET", f"/notifications?broadcast_id={told['broadcast_id']}&limit=5", token=herald)
    assert (listed.body["meta"]["total"], len(listed.data), listed.data[0]["category"]) == (25, 5, "news")


@pytest.mark.timeout(400)  # a cut may leave a lease of 30 s
async def test_connections_cut_at_any_moment_leave_each_of_them_one_notification(around: Around, herald: str) -> None:
    people = crowd(around, 120, page=3)
    async with open_house(around) as one, open_house(around) as other:
        key = await begun(one, herald)
        async with one.loop("broadcasts"), other.loop("broadcasts"):
            for least in (1, 30, 60):

                async def so_many(least: int = least) -> bool:
                    return len(await written_to(one, key)) >= least

                await eventually(so_many, within=60, says="it goes on", every=0.001)
                await one.sql.execute(CUT)
            told = await until(one, herald, key, within=60, status="finished")

        assert sorted(await written_to(one, key)) == sorted(people)
        assert (told["enqueued"], await one.count("outbox")) == (120, 120)


async def test_a_crash_between_the_acceptances_and_the_position_undoes_both(house: House, herald: str) -> None:
    people = crowd(house.around, 12, page=5)
    key = await begun(house, herald)
    await house.sql.execute(
        """
        CREATE SEQUENCE public.crashes;
        CREATE FUNCTION public.crash() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM nextval('public.crashes');
            RAISE EXCEPTION 'cut off' USING ERRCODE = '57P01';
        END $$;
        CREATE TRIGGER crash BEFORE UPDATE OF position ON gateway.broadcasts
        FOR EACH ROW WHEN (NEW.enqueued > 5) EXECUTE FUNCTION public.crash()
        """
    )

    async with house.loop("broadcasts"):

        async def crashed() -> bool:
            return bool(await house.sql.fetchval("SELECT is_called FROM public.crashes"))

        await eventually(crashed, says="the second page met its crash")
        kept = len(await written_to(house, key))
        await house.sql.execute("DROP TRIGGER crash ON gateway.broadcasts")
        await house.call("POST", f"/broadcasts/{key}/pause", token=herald)
        await house.call("POST", f"/broadcasts/{key}/resume", token=herald)
        told = await until(house, herald, key, status="finished")

    assert kept == 5, "nobody of the second page was accepted without the position"
    assert sorted(await written_to(house, key)) == sorted(people)
    assert told["enqueued"] == 12


async def test_endings_are_counted_once_and_a_change_of_them_is_moved(house: House, herald: str) -> None:
    crowd(house.around, 10)
    key = await begun(house, herald)
    async with house.loop("broadcasts"):
        await until(house, herald, key, status="finished", pending=10)
        await house.sql.execute(ENDED, UUID(key), "delivered", "pending", 6)
        await house.sql.execute(ENDED, UUID(key), "suppressed", "pending", 1)
        await until(house, herald, key, delivered=6, suppressed=1, pending=3)
        await house.sql.execute(ENDED, UUID(key), "failed", "delivered", 2)
        told = await until(house, herald, key, delivered=4, failed=2)

    assert (told["pending"], told["suppressed"], told["cancelled"], told["expired"]) == (3, 1, 0, 0)
    assert await house.count("broadcast_changes") == 0


async def test_people_are_given_by_their_ids_in_several_calls_before_it_begins(house: House, herald: str) -> None:
    people = sorted(map(str, crowd(house.around, 7)))
    key = await begun(house, herald, audience={"user_ids": people[:3]}, start=False)
    path = f"/broadcasts/{key}"

    added = await house.call("POST", f"{path}/recipients", token=herald, json={"user_ids": people[2:] + people[4:]})
    async with house.loop("broadcasts"):
        await house.call("POST", f"{path}/resume", token=herald)
        await until(house, herald, key, status="finished", enqueued=7)
    late = await house.call("POST", f"{path}/recipients", token=herald, json={"user_ids": people})

    assert (added.status, added.data["total"], added.data["reason"]) == (200, 7, "not_started")
    assert sorted(map(str, await written_to(house, key))) == people
    assert (late.status, late.body["error"]) == (409, "broadcast_begun")
    assert await house.count("broadcast_recipients") == 0


async def test_people_added_while_somebody_slow_has_the_page_without_them_are_written_to(
    house: House, herald: str
) -> None:
    people = sorted(map(str, crowd(house.around, 5)))
    key = await begun(house, herald, audience={"user_ids": people[:3]})
    async with open_database(house.around.dsn, name="slow") as database:
        slow = Broadcasts(database)
        claimed = await slow.claim(lease_seconds=0)
        assert claimed is not None
        await house.call("POST", f"/broadcasts/{key}/pause", token=herald)
        added = await house.call("POST", f"/broadcasts/{key}/recipients", token=herald, json={"user_ids": people})
        await house.call("POST", f"/broadcasts/{key}/resume", token=herald)
        moved = await slow.enqueue(claimed, [], None)
    async with house.loop("broadcasts"):
        await until(house, herald, key, status="finished", enqueued=5)

    assert (added.status, moved) == (200, None)
    assert sorted(map(str, await written_to(house, key))) == people


async def test_what_is_taken_back_is_not_kept_waiting_by_those_under_way(house: House, herald: str) -> None:
    crowd(house.around, 3)
    await begun(house, herald)
    late = await begun(house, herald)
    await house.call("POST", f"/broadcasts/{late}/cancel", token=herald)
    async with open_database(house.around.dsn, name="next") as database:
        claimed = await Broadcasts(database).claim(lease_seconds=1)

    assert claimed is not None
    assert str(claimed.id) == late


async def test_what_a_dead_gateway_held_goes_on_at_once(house: House, herald: str) -> None:
    crowd(house.around, 3)
    key = await begun(house, herald)
    async with open_database(house.around.dsn, name="dead") as database:
        await Broadcasts(database).claim(lease_seconds=3600)

    await end_leases(settings_for(house.around.dsn))

    async with house.loop("broadcasts"):
        await until(house, herald, key, status="finished", enqueued=3)


async def test_with_much_waiting_for_the_broker_it_waits_too_and_goes_on(around: Around, herald: str) -> None:
    crowd(around, 20, page=5)
    async with open_house(around, broadcast_waiting=4) as house:
        key = await begun(house, herald)
        async with house.loop("broadcasts"):
            waits = await until(house, herald, key, enqueued=5)
            async with house.loop("relay"):
                told = await until(house, herald, key, status="finished")

        assert waits["status"] == "running"
        assert told["enqueued"] == 20


async def test_it_pauses_when_too_many_fail_says_why_and_counts_anew_once_resumed(around: Around, herald: str) -> None:
    crowd(around, 150, page=110)
    async with open_house(around, broadcast_waiting=1, broadcast_failure_ratio=0.2) as house:
        key = await begun(house, herald)
        async with house.loop("broadcasts"):
            await until(house, herald, key, enqueued=110)
            async with house.sql.transaction():
                await house.sql.execute(ENDED, UUID(key), "delivered", "pending", 79)
                await house.sql.execute(ENDED, UUID(key), "failed", "pending", 21)
            paused = await until(house, herald, key, status="paused")
            await house.sql.execute("DELETE FROM gateway.outbox")
            resumed = await house.call("POST", f"/broadcasts/{key}/resume", token=herald)
            told = await until(house, herald, key, status="finished")

    assert (paused["reason"], paused["enqueued"]) == ("failure_ratio: 21 of 100 failed", 110)
    assert (resumed.data["status"], resumed.data["reason"]) == ("running", None)
    assert told["enqueued"] == 150


async def test_paused_it_enqueues_nobody_and_cancelled_it_takes_back_what_waits(house: House, herald: str) -> None:
    crowd(house.around, 8, page=4)
    key = await begun(house, herald)
    path = f"/broadcasts/{key}"
    async with house.loop("broadcasts"):
        await until(house, herald, key, status="finished")
        other = await begun(house, herald, start=False)
        paused = await house.call("POST", f"/broadcasts/{other}/pause", token=herald)
        stopped = await house.call("POST", f"{path}/cancel", token=herald)
        told = await until(house, herald, key, status="cancelled", cancelled=8)
        again = await house.call("POST", f"{path}/cancel", token=herald)
        late = await house.call("POST", f"{path}/resume", token=herald)

    assert (paused.status, paused.data["status"], await written_to(house, other)) == (200, "paused", [])
    assert stopped.data["status"] in {"cancelling", "cancelled"}
    assert (told["pending"], await house.count("outbox")) == (0, 0)
    assert (again.status, late.status, late.body["error"]) == (200, 409, "broadcast_ended")


async def test_nobody_else_sees_or_turns_it_but_those_who_may(house: House, herald: str) -> None:
    crowd(house.around, 1)
    key = await begun(house, herald)
    callers = house.around.callers
    stranger, reader, head = (
        callers.token(*HERALD),
        callers.token("notifications:read"),
        callers.token("notifications:*"),
    )

    assert (await house.call("GET", f"/broadcasts/{key}", token=stranger)).status == 404
    assert (await house.call("GET", f"/broadcasts/{key}", token=reader)).status == 200
    assert (await house.call("GET", "/broadcasts", token=stranger)).body["meta"]["total"] == 0
    assert [one["broadcast_id"] for one in (await house.call("GET", "/broadcasts", token=reader)).data] == [key]
    for word in ("pause", "resume", "cancel"):
        assert (await house.call("POST", f"/broadcasts/{key}/{word}", token=stranger)).status == 404
        assert (await house.call("POST", f"/broadcasts/{key}/{word}", token=reader)).status == 403
    assert (await house.call("POST", "/broadcasts", token=house.token, json=call_to())).status == 403
    assert (await house.call("POST", f"/broadcasts/{key}/pause", token=head)).status == 200


async def test_what_makes_no_sense_is_refused_and_begins_nothing(house: House, herald: str) -> None:
    for change in NONSENSE:
        answer = await house.call("POST", "/broadcasts", token=herald, json=call_to(**change))
        assert (answer.status, answer.body["error"]) == (422, "validation_failed"), (str(change)[:80], answer.body)
    unknown = await house.call("POST", "/broadcasts", token=herald, json=call_to(template_code="nothing"))

    assert (unknown.status, unknown.body["error"]) == (404, "template_not_found")
    assert await house.count("broadcasts") == 0
