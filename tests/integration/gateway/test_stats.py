"""The operators' figures over HTTP."""

import time
from collections import Counter
from typing import Any

from carillon.contracts.channels import STATUS_QUEUE
from carillon.gateway.store.minute_counts import MinuteCounts
from carillon.kit.broker.port import Message
from carillon.kit.database import open_database
from carillon.kit.ids import uuid7
from tests.integration.gateway.house import Around, House, open_house
from tests.support.waiting import eventually
from tests.unit.gateway.reports import delivered, encoded, failed


async def test_what_was_accepted_and_what_became_of_it_is_told_with_what_waits(house: House) -> None:
    operator = house.around.callers.token("notifications:read")
    body = house.body()
    await house.post(body)
    await house.post(body)
    keys = [await house.accepted() for _ in range(3)]
    reports = [delivered(keys[0]), delivered(keys[1]), failed(keys[2])]
    await house.broker.publish([Message(STATUS_QUEUE, encoded(*reports)), Message("email.queue", b"{}")])
    told: dict[str, Any] = {}

    async def all_is_counted() -> bool:
        told.update((await house.call("GET", "/stats", token=operator)).data)
        queues = {queue["queue"]: queue["ready"] for queue in told["queues"] or ()}
        return bool(told["delivery_ratio"] and told["outbox_waiting"] and queues.get("email.queue"))

    async with house.loop("recorder"), house.loop("measure"):
        await eventually(all_is_counted)

    totals = {name: sum(minute[name] for minute in told["minutes"]) for name in ("accepted", "delivered", "failed")}
    assert totals == {"accepted": 4, "delivered": 2, "failed": 1}
    assert (round(told["delivery_ratio"], 3), told["outbox_waiting"]) == (0.667, 4)


async def test_the_figures_are_for_readers_of_all_notifications(house: House) -> None:
    assert (await house.call("GET", "/stats")).status == 403
    assert (await house.call("GET", "/stats", token="nobody")).status == 401


async def test_each_of_several_processes_answers_for_all_also_for_those_that_have_ended(
    around: Around, house: House
) -> None:
    operator = around.callers.token("notifications:read")
    await house.accepted()
    await house.accepted()

    async def shared() -> int:
        return int(await house.sql.fetchval("SELECT coalesce(sum(accepted), 0) FROM gateway.minute_counts"))

    async with house.loop("share"):
        await eventually(shared)
        await house.accepted()
    assert await shared() == 3  # told once more at the end

    async with open_house(around) as other:
        await other.accepted()
        async with other.loop("share"):
            await eventually(lambda: _told(other, operator, 4))
        assert await _told(house, operator, 3)  # it has not asked yet
    async with house.loop("share"):
        await eventually(lambda: _told(house, operator, 4))


async def test_counts_are_written_whole_and_old_ones_leave(around: Around, house: House) -> None:
    minute = int(time.time()) // 60
    async with open_database(around.dsn, name="counts") as database:
        mine, theirs = MinuteCounts(database, uuid7()), MinuteCounts(database, uuid7())
        await mine.exchange({minute: Counter(accepted=5), minute - 500: Counter(accepted=7)})
        await mine.exchange({minute: Counter(accepted=6)})

        assert await theirs.exchange({}) == {minute: Counter(accepted=6)}
        assert await mine.exchange({}) == {}
    assert await house.count("minute_counts") == 1


async def _told(house: House, token: str, accepted: int) -> bool:
    minutes = (await house.call("GET", "/stats", token=token)).data["minutes"]
    return sum(int(minute["accepted"]) for minute in minutes) == accepted
