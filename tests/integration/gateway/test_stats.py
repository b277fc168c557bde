"""The operators' figures over HTTP."""

from typing import Any

from carillon.contracts.channels import STATUS_QUEUE
from carillon.kit.broker.port import Message
from tests.integration.gateway.house import House
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
