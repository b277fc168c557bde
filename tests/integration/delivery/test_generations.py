"""Generations of one notification that are claimed at the same moment: whoever comes first, one at most is sent."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from carillon.delivery.domain import AlreadySent, ClaimFound, Granted, HeldElsewhere
from carillon.delivery.ports import ClaimWanted, Settlement
from carillon.delivery.store import DeliveriesStore
from carillon.kit.database import Connection, Database, open_database
from carillon.kit.ids import uuid7
from tests.support.locks import HOW_MANY_WAIT
from tests.support.waiting import eventually


@pytest.fixture
async def database(migrated: str) -> AsyncIterator[Database]:
    async with open_database(migrated, name="generations") as opened:
        yield opened


@dataclass
class Uncommitted:
    """A database whose statements nobody else sees before the end of its transaction."""

    connection: Connection

    async def fetch(self, sql: str, *arguments: Any) -> Any:
        return await self.connection.fetch(sql, *arguments)

    async def execute(self, sql: str, *arguments: Any) -> Any:
        return await self.connection.execute(sql, *arguments)


def store_on(database: Any, *, lease: float = 60) -> DeliveriesStore:
    return DeliveriesStore(database, schema="email_worker", channel="email", lease_seconds=lease)


async def claim(store: DeliveriesStore, key: UUID, generation: int) -> ClaimFound:
    (found,) = await store.claim([ClaimWanted(key, generation, at_most_once=False)])
    return found


async def waits(database: Database) -> bool:
    """Whether somebody waits for another's transaction."""
    return bool(await database.fetchval(HOW_MANY_WAIT))


@pytest.mark.parametrize("begun", [None, "released"], ids=["never seen before", "tried before"])
@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 0), (1, 2), (2, 1)])
async def test_of_two_generations_claimed_at_the_same_moment_one_is_granted(
    database: Database, first: int, second: int, begun: str | None
) -> None:
    key, store = uuid7(), store_on(database)
    if begun:
        await claim(store, key, 0)
        await store.settle([Settlement(key, 0, 1, "released")])

    async with database.connection() as connection, asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        transaction = connection.transaction()
        await transaction.start()
        won = await claim(store_on(Uncommitted(connection)), key, first)
        late = tasks.create_task(claim(store, key, second))
        await eventually(lambda: waits(database), says="the second waits for the first")
        await transaction.commit()

    assert isinstance(won, Granted)
    assert isinstance(late.result(), HeldElsewhere)
    assert await database.fetchval("SELECT count(*) FROM email_worker.deliveries WHERE state = 'claimed'") == 1


async def test_of_two_generations_in_one_batch_the_newer_one_is_granted(database: Database) -> None:
    key = uuid7()

    found = await store_on(database).claim([ClaimWanted(key, number, at_most_once=False) for number in (0, 2, 1)])

    assert isinstance(found[1], Granted)
    assert [type(found[0]), type(found[2])] == [HeldElsewhere, HeldElsewhere]


async def test_a_former_generation_that_is_given_back_between_two_looks_is_not_sent_beside_its_successor(
    database: Database,
) -> None:
    key, store = uuid7(), store_on(database)
    await claim(store, key, 0)
    await store.settle([Settlement(key, 0, 1, "released")])

    class GivenBackLate(Uncommitted):
        """What is closed finds the former one in somebody's hands; what looks afterwards does not."""

        async def execute(self, sql: str, *arguments: Any) -> Any: ...

    async with database.connection() as connection:
        assert await claim(store_on(GivenBackLate(connection)), key, 1) == HeldElsewhere(0.05)
    assert isinstance(await claim(store, key, 1), Granted)
    assert isinstance(await claim(store, key, 0), HeldElsewhere)


async def test_a_worker_that_lost_its_claim_to_a_newer_generation_overwrites_nothing(database: Database) -> None:
    key, store = uuid7(), store_on(database)
    await claim(store_on(database, lease=0), key, 0)
    assert isinstance(await claim(store, key, 1), Granted)

    assert await store.settle([Settlement(key, 0, 1, "sent", provider="smtp")]) == [False]
    assert await store.settle([Settlement(key, 1, 1, "sent", provider="smtp")]) == [True]
    assert isinstance(await claim(store, key, 0), AlreadySent)


async def test_a_generation_that_no_gateway_gave_closes_a_bounded_number_of_former_ones(database: Database) -> None:
    assert isinstance(await claim(store_on(database), uuid7(), 2_000_000), Granted)

    assert await database.fetchval("SELECT count(*) FROM email_worker.deliveries") == 101


@pytest.mark.parametrize("begun", ["released", "lapsed"])
async def test_a_generation_that_no_gateway_gave_is_not_held_for_ever_by_one_that_nobody_has_in_hand(
    database: Database, begun: str
) -> None:
    key, store = uuid7(), store_on(database)
    await claim(store_on(database, lease=0), key, 0)
    if begun == "released":
        await store.settle([Settlement(key, 0, 1, "released")])

    assert isinstance(await claim(store, key, 2_000_000), Granted)
    assert isinstance(await claim(store, key, 0), HeldElsewhere), "while the other is in hand"
    assert await store.settle([Settlement(key, 2_000_000, 1, "sent", provider="smtp")]) == [True]

    assert isinstance(await claim(store, key, 0), AlreadySent)
    assert await database.fetchval("SELECT count(*) FROM email_worker.deliveries") == 102


async def test_a_generation_that_no_gateway_gave_waits_for_one_in_hand_and_becomes_what_that_becomes(
    database: Database,
) -> None:
    key, store = uuid7(), store_on(database)
    await claim(store, key, 0)

    held = await claim(store, key, 2_000_000)
    assert isinstance(held, HeldElsewhere)
    assert held.seconds > 1, "as long as the lease lasts"
    assert await store.settle([Settlement(key, 0, 1, "sent", provider="smtp")]) == [True]

    assert isinstance(await claim(store, key, 2_000_000), AlreadySent)
