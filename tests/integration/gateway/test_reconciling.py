"""Holes made by hand, and that they are repaired once; and all that looks like a hole and is none."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from carillon.contracts.channels import STATUS_QUEUE
from carillon.contracts.messages import DeliveryReported, Step
from carillon.contracts.statuses import rank_of_retry
from carillon.gateway.actions.reconcile import reconcile
from carillon.gateway.store.erasures import Erasures
from carillon.gateway.store.session import steady
from carillon.gateway.watching import QUEUES
from carillon.kit.broker.port import Message, QueueDepth
from carillon.kit.database import open_database
from carillon.kit.ids import born_at
from tests.integration.gateway.deaths import dead, kept, message, replay
from tests.integration.gateway.holes import found, lose, outbox, pass_time, reconciler, rounds, steps, watch
from tests.integration.gateway.house import House
from tests.support.waiting import eventually
from tests.unit.gateway.reports import delivered, encoded, retried


async def relayed(house: House, count: int) -> None:
    async with house.loop("relay"):

        async def out() -> bool:
            return await house.count("outbox") == 0 and len(await house.messages()) == count

        await eventually(out, says="everything is with the broker")


async def recorded(house: House, *reports: DeliveryReported) -> None:
    await house.broker.publish([Message(STATUS_QUEUE, encoded(*reports))])

    async def drained() -> bool:
        return not await house.sql.fetchval("SELECT count(*) FROM broker.messages WHERE queue = $1", STATUS_QUEUE)

    async with house.loop("recorder"):
        await eventually(drained)


async def test_a_row_that_was_deleted_from_the_outbox_is_queued_anew_with_what_it_was_to_say(house: House) -> None:
    key, beside = await house.accepted(metadata={"order": 7}), await house.accepted()
    await lose(house, key)
    began = datetime.now(UTC)

    async with reconciler(house) as reconciling:
        await rounds(house, reconciling)
        assert reconciling.grew.is_set()

    assert await outbox(house) == {key: 1, beside: 0}
    async with house.loop("relay"):
        await eventually(house.messages)
        await eventually(lambda: house.sql.fetchval("SELECT count(*) = 0 FROM gateway.outbox"))
    sent = {message.notification_id: message for message in await house.messages()}
    assert (sent[key].generation, sent[key].metadata, sent[key].variables["name"]) == (1, {"order": 7}, "Ada")
    assert sent[key].accepted_at >= began
    assert [step["kind"] for step in await steps(house, key)] == ["accepted", "requeued", "queued"]
    explained = (await house.call("GET", f"/notifications/{key}/explain")).data["reasons"]
    assert explained[1]["sentence"] == "It was lost on the way, and was queued anew: no_news."
    assert [step["kind"] for step in await steps(house, beside)] == ["accepted", "queued"]


async def test_a_message_that_was_purged_from_its_queue_is_queued_anew_once_and_then_waited_for_longer(
    house: House,
) -> None:
    key = await house.accepted()
    await relayed(house, 1)
    await house.sql.execute("DELETE FROM broker.messages")

    async with reconciler(house) as reconciling:
        await rounds(house, reconciling)
        assert await outbox(house) == {key: 1}
        await relayed(house, 1)
        await house.sql.execute("DELETE FROM broker.messages")
        await pass_time(house, 120)
        await reconcile(reconciling)  # it has left the outbox: from here its silence counts
        await pass_time(house, 119)
        await reconcile(reconciling)
        assert await outbox(house) == {}
        await pass_time(house, 2)
        await reconcile(reconciling)

    assert await outbox(house) == {key: 2}
    times = [step["detail"]["times"] for step in await steps(house, key) if step["kind"] == "requeued"]
    assert times == [1, 2]


async def test_two_reconcilers_that_race_queue_each_lost_one_anew_once(house: House) -> None:
    keys = [await house.accepted() for _ in range(30)]
    await lose(house, *keys)

    async with reconciler(house) as one, reconciler(house) as other:
        one.size = other.size = 7
        await watch(house)
        for _ in range(2):
            await asyncio.gather(*(reconcile(each) for each in (one, other, one, other)))
            await pass_time(house, 90)

    assert await outbox(house) == dict.fromkeys(keys, 1)
    for key in keys[:3]:
        assert [step["kind"] for step in await steps(house, key)] == ["accepted", "requeued"]


async def test_what_lies_in_a_lane_that_is_long_behind_is_not_overdue(house: House) -> None:
    key = await house.accepted()
    await relayed(house, 1)
    await house.sql.execute("UPDATE broker.messages SET visible_at = visible_at - interval '1 day'")

    async with reconciler(house) as reconciling:
        await rounds(house, reconciling, 6)

    assert await outbox(house) == {}
    assert [step["kind"] for step in await steps(house, key)] == ["accepted", "queued"]


class Ageless:
    """A broker whose queues are never empty, and which does not know how old their messages are."""

    async def depths(self) -> Mapping[str, QueueDepth]:
        return dict.fromkeys(QUEUES, QueueDepth(5, 0, None, None))


async def test_on_a_platform_that_never_rests_what_has_arrived_since_shows_what_is_lost(house: House) -> None:
    letter, lost, other_lane = await dead(house), await house.accepted(), await house.accepted(priority=9)
    await lose(house, lost, other_lane)
    async with reconciler(house, Ageless()) as reconciling:
        await rounds(house, reconciling, 4)
        assert await outbox(house) == {}, "nobody can tell: its lane may be behind"

        arrived = await house.accepted()
        await lose(house, arrived)
        await recorded(house, delivered(arrived))
        await house.sql.execute("UPDATE gateway.watched_notifications SET quiet_since = now() - interval '1 day'")
        await reconciling.store.pass_over("first", datetime.now(UTC) + timedelta(seconds=5), limit=10)
        await house.sql.execute("UPDATE gateway.dead_letters SET notification_id = $1", arrived)
        await pass_time(house, 120)
        await reconcile(reconciling)

    assert await outbox(house) == {lost: 1}
    assert (await found(house, letter))["status"] == "failed"


async def test_what_has_arrived_moves_a_lanes_mark_forward_and_never_back(house: House) -> None:
    early, late = await house.accepted(), await house.accepted()
    soon = datetime.now(UTC) + timedelta(seconds=5)
    async with reconciler(house) as reconciling:
        store = reconciling.store
        await recorded(house, delivered(late))
        await store.pass_over("first", soon, limit=10)
        await recorded(house, delivered(early))
        await store.pass_over("second", soon, limit=1)

        assert await store.passed_on(soon) == {"email.queue": born_at(late), STATUS_QUEUE: born_at(late)}
        assert await store.passed_on(born_at(late)) == {}, "no key of a time to come is believed"


async def test_a_wait_that_is_told_again_and_again_is_news_although_it_changes_nothing_else(house: House) -> None:
    """A breaker that stays open for an hour: nothing outranks the attempt before it, and no step is new."""
    key = await house.accepted()
    await relayed(house, 1)
    await house.sql.execute("DELETE FROM broker.messages")
    await recorded(house, retried(key, 1))
    waits = _waiting(key, 50)

    async with reconciler(house) as reconciling:
        await watch(house)
        for _ in range(8):
            await recorded(house, waits)
            await reconcile(reconciling)
            await pass_time(house, 100)
        assert await outbox(house) == {}
        await pass_time(house, 100)
        await reconcile(reconciling)

    assert await outbox(house) == {key: 1}, "silent at last"


@pytest.mark.parametrize("clock", [-1, 1])
async def test_a_wait_in_the_longest_rung_is_not_cut_short_by_a_worker_whose_clock_is_wrong(
    house: House, clock: int
) -> None:
    key = await house.accepted()
    await lose(house, key)
    await recorded(house, _waiting(key, 3000, wrong=timedelta(hours=clock)))

    async with reconciler(house) as reconciling:
        await rounds(house, reconciling, 24)

    assert await outbox(house) == {}
    assert (await found(house, key))["stage"] == "retrying"


async def test_what_is_scheduled_waits_for_its_time_and_is_repaired_after_it(house: House) -> None:
    later = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    kept, lost = await house.accepted(send_at=later), await house.accepted(send_at=later)
    async with reconciler(house) as reconciling:
        await rounds(house, reconciling, 4)
        assert await outbox(house) == {kept: 0, lost: 0}
        await lose(house, lost)
        await pass_time(house, 7200)
        await rounds(house, reconciling, 3)

    assert await outbox(house) == {kept: 0, lost: 1}
    assert [step["kind"] for step in await steps(house, kept)] == ["accepted", "scheduled"]


async def test_what_has_ended_is_left_alone_and_watched_no_longer(house: House) -> None:
    gone, arrived = await house.accepted(), await house.accepted()
    assert (await house.call("POST", f"/notifications/{gone}/cancel")).data["status"] == "cancelled"
    async with reconciler(house) as reconciling:
        await watch(house)
        assert await house.count("watched_notifications") == 1
        await lose(house, arrived)
        await recorded(house, delivered(arrived))
        await rounds(house, reconciling, 3)

    assert await outbox(house) == {}
    assert await house.count("watched_notifications") == 0
    assert (await found(house, gone))["status"] == "cancelled"
    assert (await found(house, arrived))["status"] == "delivered"


async def test_silence_past_expiry_has_expired_and_past_the_age_of_giving_up_has_failed(house: House) -> None:
    soon = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    expiring, old, unsayable = await house.accepted(expires_at=soon), await house.accepted(), await house.accepted()
    await lose(house, expiring, unsayable)
    await house.sql.execute("UPDATE gateway.idempotency_keys SET message = NULL WHERE notification_id = $1", unsayable)

    async with reconciler(house) as reconciling:
        await rounds(house, reconciling, 3)
        assert (await found(house, expiring))["status"] == "expired"
        assert (await found(house, unsayable))["status"] == "pending", "nobody can send it again: it may still come"
        await pass_time(house, 3600)
        await lose(house, old)
        await rounds(house, reconciling, 3)

    for key, status in ((expiring, "expired"), (old, "failed"), (unsayable, "failed")):
        told = await found(house, key)
        assert (told["status"], told["reason"], told["stage"]) == (status, "no_news", None)
        assert (await steps(house, key))[-1]["kind"] == status
    assert await outbox(house) == {}
    assert await house.count("watched_notifications") == 0


async def test_while_the_broker_is_away_nothing_is_decided(house: House) -> None:
    key = await house.accepted()
    await lose(house, key)
    async with reconciler(house) as reconciling:
        await rounds(house, reconciling, 1)
        await pass_time(house, 120)
        await house.sql.execute("ALTER TABLE broker.messages RENAME TO hidden")
        with pytest.raises(Exception, match="broker"):
            await reconcile(reconciling)
        assert await outbox(house) == {}
        await house.sql.execute("ALTER TABLE broker.hidden RENAME TO messages")
        await reconcile(reconciling)
    assert await outbox(house) == {key: 1}


async def test_what_its_dying_workers_never_answered_for_is_sent_again_twice_and_no_more(house: House) -> None:
    """Handed out too often, because the worker that had it in hand was killed each time."""
    now = datetime.now(UTC)
    key = await dead(house, "delivery_limit", headers={}, died=now - timedelta(seconds=61))
    young = await dead(house, "delivery_limit", headers={}, died=now - timedelta(seconds=30))
    refused = await dead(house, died=now - timedelta(seconds=61))
    assert (await found(house, key))["reason"] == "delivery_limit"

    async with reconciler(house) as one, reconciler(house) as other:
        await asyncio.gather(reconcile(one), reconcile(other))
        assert await outbox(house) == {key: 1}
        assert (await found(house, key))["status"] == "pending"
        for generation, aged, queued in ((1, 119, False), (1, 3, True), (2, 3000, False)):
            if await outbox(house):
                body = await house.sql.fetchval("DELETE FROM gateway.outbox RETURNING body")
                await kept(house, [message(body, "delivery_limit", key=key, headers={}, died=datetime.now(UTC))])
            moved = "UPDATE gateway.dead_letters SET died_at = died_at - $1::interval WHERE notification_id = $2"
            await house.sql.execute(moved, timedelta(seconds=aged), key)
            await reconcile(one)
            assert await outbox(house) == ({key: generation + 1} if queued else {})

    told = [step for step in await steps(house, key) if step["kind"] == "requeued"]
    assert [step["detail"]["cause"] for step in told] == ["delivery_limit"] * 2
    assert {(await found(house, each))["status"] for each in (key, young, refused)} == {"failed"}


async def test_what_was_replayed_and_is_lost_then_is_found_too(house: House) -> None:
    key = await dead(house)
    assert (await replay(house, template_code="welcome"))["replayed"] == 1
    await lose(house, key)
    async with reconciler(house) as reconciling:
        await reconcile(reconciling)
        await pass_time(house, 61)
        await reconcile(reconciling)
    assert await outbox(house) == {key: 2}


async def test_what_is_kept_to_be_sent_again_goes_with_its_user(house: House) -> None:
    user_id = house.around.contacts.add()
    key, other = await house.accepted(user_id=user_id), await house.accepted()
    async with open_database(steady(house.around.dsn), name="erasing") as database:
        await Erasures(database).scrub(user_id, bite=10)
    rows = await house.sql.fetch("SELECT notification_id, message IS NULL AS blank FROM gateway.idempotency_keys")
    assert {row["notification_id"]: row["blank"] for row in rows} == {key: True, other: False}


def _waiting(key: UUID, seconds: float, *, wrong: timedelta = timedelta()) -> DeliveryReported:
    now = datetime.now(UTC) + wrong
    return DeliveryReported(
        notification_id=key,
        generation=0,
        rank=rank_of_retry(0),
        status="pending",
        stage="retrying",
        reason="providers_down",
        next_expected_at=now + timedelta(seconds=seconds),
        steps=[Step(key="0.0.waiting.providers_down", kind="waiting", at=now, reason="providers_down")],
    )
