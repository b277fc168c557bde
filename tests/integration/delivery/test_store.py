"""Claims on a real PostgreSQL: one winner, fenced outcomes, leases by the database's clock."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from uuid import UUID

import pytest

from carillon.delivery.domain import AlreadyFailed, AlreadySent, ClaimFound, Granted, HeldElsewhere, SettledState
from carillon.delivery.ports import ClaimWanted, Settlement
from carillon.delivery.store import DeliveriesStore, end_leases
from carillon.kit.database import Database, open_database
from carillon.kit.ids import uuid7


def store_on(database: Database, *, lease: float = 60) -> DeliveriesStore:
    return DeliveriesStore(database, schema="email_worker", channel="email", lease_seconds=lease)


@pytest.fixture
async def mine(migrated: str) -> AsyncIterator[Database]:
    async with open_database(migrated, name="mine") as database:
        yield database


@pytest.fixture
async def theirs(migrated: str) -> AsyncIterator[Database]:
    async with open_database(migrated, name="theirs") as database:
        yield database


def wanted(*ids: UUID, at_most_once: bool = False) -> list[ClaimWanted]:
    return [ClaimWanted(notification_id, 0, at_most_once) for notification_id in ids]


async def claim(store: DeliveriesStore, notification_id: UUID, *, at_most_once: bool = False) -> ClaimFound:
    (found,) = await store.claim(wanted(notification_id, at_most_once=at_most_once))
    return found


def settled(notification_id: UUID, claim: int, state: SettledState = "sent") -> Settlement:
    settlement = Settlement(notification_id, 0, claim, "sent", provider="smtp", provider_message_id="queued as 1")
    return replace(settlement, state=state)


async def test_of_two_workers_that_race_for_the_same_messages_each_message_has_one_winner(
    mine: Database, theirs: Database
) -> None:
    ids = [uuid7() for _ in range(400)]
    rounds = [(ids[n : n + 50], ids[n : n + 50][::-1]) for n in range(0, 400, 50)]

    async def all_of(store: DeliveriesStore, batches: Sequence[Sequence[UUID]]) -> dict[UUID, ClaimFound]:
        answers = await asyncio.gather(*(store.claim(wanted(*batch)) for batch in batches))
        return {
            key: found
            for batch, answer in zip(batches, answers, strict=True)
            for key, found in zip(batch, answer, strict=True)
        }

    first, second = await asyncio.gather(
        all_of(store_on(mine), [batch for batch, _ in rounds]), all_of(store_on(theirs), [batch for _, batch in rounds])
    )

    for key in ids:
        kinds = {type(first[key]), type(second[key])}
        assert kinds == {Granted, HeldElsewhere}, kinds


async def test_workers_that_claim_the_same_messages_in_opposite_orders_do_not_deadlock(
    mine: Database, theirs: Database
) -> None:
    ids = [uuid7() for _ in range(300)]

    async def again_and_again(database: Database, batch: list[UUID]) -> None:
        for _ in range(15):
            await store_on(database, lease=0).claim(wanted(*batch))

    forth, back = [again_and_again(mine, ids) for _ in range(3)], [again_and_again(theirs, ids[::-1]) for _ in range(3)]
    await asyncio.gather(*forth, *back)


async def test_a_live_claim_tells_how_long_it_still_stands(mine: Database, theirs: Database) -> None:
    key = uuid7()
    assert await claim(store_on(mine), key) == Granted(1, 1)

    held = await claim(store_on(theirs), key)
    assert isinstance(held, HeldElsewhere)
    assert 50 < held.seconds <= 60


async def test_who_knows_the_holders_dead_lets_live_claims_lapse_and_touches_no_outcome(mine: Database) -> None:
    held, sent, store = uuid7(), uuid7(), store_on(mine)
    await store.claim(wanted(held, sent))
    await store.settle([settled(sent, 1)])

    await end_leases(mine, schema="email_worker")
    assert await claim(store, held) == Granted(attempt=2, claim=2, lapses=1)
    assert isinstance(await claim(store, sent), AlreadySent)


async def test_a_claim_names_its_holder(mine: Database) -> None:
    await claim(store_on(mine), uuid7())
    assert str(await mine.fetchval("SELECT owner FROM email_worker.deliveries")).endswith(f":{os.getpid()}")


async def test_a_lapsed_claim_is_the_next_workers_and_the_old_one_can_write_nothing_any_more(
    mine: Database, theirs: Database
) -> None:
    key = uuid7()
    old = await claim(store_on(mine, lease=0), key)
    new = await claim(store_on(theirs), key)
    assert isinstance(old, Granted)
    assert new == Granted(attempt=2, claim=2, lapses=1)

    assert await store_on(mine).settle([settled(key, old.claim, "failed")]) == [False]
    assert await store_on(theirs).settle([settled(key, 2)]) == [True]
    assert await store_on(mine).settle([settled(key, old.claim, "released")]) == [False]
    found = await claim(store_on(mine), key)
    assert isinstance(found, AlreadySent)
    assert (found.attempt, found.provider, found.provider_message_id) == (2, "smtp", "queued as 1")


async def test_the_holder_of_a_lapsed_claim_that_nobody_took_may_still_write(mine: Database) -> None:
    key, store = uuid7(), store_on(mine, lease=0)
    await claim(store, key)
    assert await store.settle([settled(key, 1)]) == [True]


async def test_a_released_claim_is_free_at_once_and_its_attempt_counts(mine: Database) -> None:
    key, store = uuid7(), store_on(mine)
    await claim(store, key)
    await store.settle([settled(key, 1, "released")])

    assert await claim(store, key) == Granted(attempt=2, claim=2)


async def test_a_claim_given_back_unused_counts_nothing_but_its_number_is_never_used_again(mine: Database) -> None:
    key, store = uuid7(), store_on(mine)
    await claim(store, key)
    unused = replace(settled(key, 1, "released"), uncounted=True)
    assert [await store.settle([unused]) for _ in range(2)] == [[True], [False]]

    assert await claim(store, key) == Granted(attempt=1, claim=2)
    assert await store.settle([settled(key, 1)]) == [False]


async def test_what_failed_stays_failed_and_tells_why(mine: Database) -> None:
    key, store = uuid7(), store_on(mine)
    await claim(store, key)
    failed = replace(settled(key, 1, "failed"), reason="recipient_refused", error="550 no")
    assert await store.settle([failed]) == [True]

    assert await claim(store, key) == AlreadyFailed(1, "smtp", "recipient_refused", "550 no")


async def test_a_lapsed_claim_of_an_at_most_once_message_has_failed_for_good(mine: Database) -> None:
    key = uuid7()
    await claim(store_on(mine, lease=0), key, at_most_once=True)

    for _ in range(2):
        found = await claim(store_on(mine), key, at_most_once=True)
        assert found == AlreadyFailed(1, None, "outcome_unknown", None)


async def test_a_message_that_comes_twice_in_one_batch_is_claimed_once(mine: Database) -> None:
    key, other = uuid7(), uuid7()
    first, twin, neighbour = await store_on(mine).claim(wanted(key, key, other))

    assert (first, neighbour) == (Granted(1, 1), Granted(1, 1))
    assert isinstance(twin, HeldElsewhere)


async def test_of_many_messages_only_those_that_went_out_are_told_as_sent(mine: Database) -> None:
    ids, store = [uuid7() for _ in range(4)], store_on(mine)
    await store.claim(wanted(*ids[:3]))
    await store.settle([settled(ids[0], 1), settled(ids[1], 1, "failed")])

    found = await store.sent([(key, 0) for key in ids])

    assert list(found) == [(ids[0], 0)]
    assert (found[ids[0], 0].attempt, found[ids[0], 0].provider_message_id) == (1, "queued as 1")


async def test_a_generation_is_a_delivery_of_its_own(mine: Database) -> None:
    key, store = uuid7(), store_on(mine)
    await claim(store, key)
    assert await store.settle([settled(key, 1, "failed")]) == [True]

    assert await store.claim([ClaimWanted(key, 1, at_most_once=False)]) == [Granted(1, 1)]
    assert isinstance((await store.claim([ClaimWanted(key, 1, at_most_once=False)]))[0], HeldElsewhere)


async def test_outcomes_of_many_claims_are_written_together_each_by_its_own_right(mine: Database) -> None:
    ids, store = [uuid7() for _ in range(50)], store_on(mine)
    await store.claim(wanted(*ids))
    written = await store.settle([settled(key, 1 + number % 2) for number, key in enumerate(ids)])

    assert written == [number % 2 == 0 for number in range(50)]
    states = await mine.fetch("SELECT state, count(*) FROM email_worker.deliveries GROUP BY state ORDER BY state")
    assert [tuple(row) for row in states] == [("claimed", 25), ("sent", 25)]


async def test_what_was_queued_anew_is_not_sent_where_a_former_generation_went_out_or_is_going_out(
    mine: Database, theirs: Database
) -> None:
    sent, under_way, lapsed, failed = (uuid7() for _ in range(4))
    store = store_on(mine)
    await store.claim(wanted(sent, under_way, failed))
    await store.settle([settled(sent, 1), settled(failed, 1, "failed")])
    await claim(store_on(theirs, lease=0), lapsed)
    again = [ClaimWanted(key, 2, at_most_once=False) for key in (sent, under_way, lapsed, failed)]

    found = await store_on(theirs).claim(again)

    assert isinstance(found[0], AlreadySent)
    assert isinstance(found[1], HeldElsewhere)
    assert found[2:] == [Granted(1, 1), Granted(1, 1)]
    assert list(await store.sent([(key, 2) for key in (sent, under_way, lapsed, failed)])) == [(sent, 2)]
    assert isinstance((await store.claim([ClaimWanted(sent, 0, at_most_once=False)]))[0], AlreadySent)


async def test_what_may_go_out_once_at_most_is_not_sent_anew_where_nobody_knows_what_its_former_worker_did(
    mine: Database,
) -> None:
    lapsed, given_up = uuid7(), uuid7()
    await claim(store_on(mine, lease=0), lapsed, at_most_once=True)
    for _ in range(2):
        await claim(store_on(mine, lease=0), given_up, at_most_once=True)

    found = await store_on(mine).claim([ClaimWanted(key, 1, at_most_once=True) for key in (lapsed, given_up)])

    assert found == [AlreadyFailed(1, None, "outcome_unknown", None)] * 2


async def test_what_comes_late_after_it_was_queued_anew_is_not_sent_beside_its_successor(mine: Database) -> None:
    sent, under_way, resting = (uuid7() for _ in range(3))
    store = store_on(mine)
    await claim(store, resting)
    await store.settle([settled(resting, 1, "released")])
    await store.claim([ClaimWanted(key, 1, at_most_once=False) for key in (sent, under_way, resting)])
    await store.settle(
        [replace(settled(sent, 1), generation=1), replace(settled(resting, 1, "released"), generation=1)]
    )

    found = await store.claim(wanted(sent, under_way, resting))

    assert isinstance(found[0], AlreadySent)
    assert found[1:] == [HeldElsewhere(60), HeldElsewhere(60)]
    assert await mine.fetchval("SELECT count(*) FROM email_worker.deliveries WHERE state = 'claimed'") == 1
