"""Who is alone with a database takes up at once what its dead predecessor had in hand."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from carillon.contracts.channels import topology
from carillon.delivery.app import end_claims
from carillon.delivery.domain import Granted, HeldElsewhere
from carillon.delivery.ports import ClaimWanted
from carillon.delivery.store import DeliveriesStore
from carillon.email_worker.app import migrate
from carillon.email_worker.settings import EmailWorkerSettings
from carillon.kit.broker.open import open_broker
from carillon.kit.broker.port import Broker, Delivery, Done, Message, Outcome, Tuning
from carillon.kit.broker.postgres.schema import end_leases, migrate_broker
from carillon.kit.database import open_database
from carillon.kit.ids import uuid7
from tests.support.waiting import eventually

FOR_EVER = Tuning(lease=3600, drain_timeout=0.1)


@contextlib.asynccontextmanager
async def holding(broker: Broker, seen: list[Delivery], *, forever: bool) -> AsyncIterator[None]:
    async def handle(batch: Sequence[Delivery]) -> Sequence[Outcome]:
        seen.extend(batch)
        if forever:
            await asyncio.Event().wait()
        return [Done() for _ in batch]

    consuming = asyncio.create_task(broker.consume("email.queue", handle, size=10, in_flight=1))
    try:
        yield
    finally:
        consuming.cancel()
        await asyncio.wait([consuming], timeout=10)


async def test_messages_in_hand_come_again_at_once(database: str) -> None:
    await migrate_broker(database)
    first: list[Delivery] = []
    second: list[Delivery] = []
    async with (
        open_broker(database, topology(), name="dead", tuning=FOR_EVER) as dead,
        open_broker(database, topology(), name="new") as new,
    ):
        await dead.publish([Message("email.queue", b"one")])
        async with holding(dead, first, forever=True):
            await eventually(lambda: first)

            await end_leases(database)

            async with holding(new, second, forever=False):
                await eventually(lambda: second)
    assert second[0].redelivered


async def test_claims_of_deliveries_lapse_at_once(database: str, tmp_path: Path) -> None:
    settings = EmailWorkerSettings(database_url=database, broker_url=database, token_file=tmp_path / "unused")
    await migrate(settings)
    wanted = [ClaimWanted(uuid7(), 0, at_most_once=False)]
    async with open_database(database, name="worker") as pool:
        store = DeliveriesStore(pool, schema="email_worker", channel="email", lease_seconds=3600)
        assert isinstance((await store.claim(wanted))[0], Granted)
        assert isinstance((await store.claim(wanted))[0], HeldElsewhere)

        await end_claims(settings, "email_worker")

        (granted,) = await store.claim(wanted)
    assert isinstance(granted, Granted)
    assert (granted.attempt, granted.lapses) == (2, 1)


@pytest.mark.parametrize("times", [1, 2])
async def test_ending_leases_where_there_are_none_changes_nothing(database: str, times: int) -> None:
    await migrate_broker(database)
    for _ in range(times):
        await end_leases(database)
