"""Somebody was erased: the gateway blanks what is personal in their notifications, and nothing of others."""

from typing import Any
from uuid import UUID, uuid4

import msgspec

from carillon.contracts.channels import ERASURES_QUEUE, STATUS_QUEUE
from carillon.gateway.store.erasures import Erasures
from carillon.kit.broker.port import Message
from carillon.kit.database import open_database
from tests.integration.gateway.house import House
from tests.support.waiting import eventually
from tests.unit.gateway.reports import encoded, failed

_PERSONAL = """
SELECT coalesce(string_agg(n.metadata::text, ''), '') || coalesce(string_agg(n.error, ''), '')
    || coalesce((SELECT string_agg(coalesce(e.detail::text, ''), '') FROM gateway.notification_events e
                 WHERE e.notification_id = ANY(array_agg(n.id))), '')
FROM gateway.notifications n WHERE n.user_id = $1
"""


_ERASURES = "SELECT headers::text FROM broker.messages WHERE queue = $1"


async def personal(house: House, user_id: UUID) -> str:
    found: str = await house.sql.fetchval(_PERSONAL, user_id)
    return found


async def erased(house: House, user_id: Any) -> None:
    await house.broker.publish([Message(ERASURES_QUEUE, f'{{"user_id":"{user_id}"}}'.encode())])


async def ended(house: House, user_id: UUID) -> UUID:
    key = await house.accepted(user_id=user_id, metadata={"order": "of Ada"})
    async with house.loop("recorder"):
        await house.broker.publish([Message(STATUS_QUEUE, encoded(failed(key)))])

        async def is_failed() -> bool:
            return bool((await house.call("GET", f"/notifications/{key}")).data["status"] == "failed")

        await eventually(is_failed, says="the report is recorded")
    return key


async def test_what_was_written_about_somebody_who_was_erased_goes_and_the_outcome_stays(house: House) -> None:
    ada, bob = house.around.contacts.add(), house.around.contacts.add()
    keys = [await ended(house, ada) for _ in range(2)]
    await ended(house, bob)
    before = await personal(house, bob)
    assert "of Ada" in await personal(house, ada)

    async with house.loop("erasures"):
        await erased(house, ada)

        async def blank() -> bool:
            return await personal(house, ada) == ""

        await eventually(blank, says="Ada's notifications are blank")

    assert await personal(house, bob) == before
    found = (await house.call("GET", f"/notifications/{keys[0]}")).data
    assert (found["status"], found["metadata"], found["error"]) == ("failed", None, None)
    steps = (await house.call("GET", f"/notifications/{keys[0]}/timeline")).data["steps"]
    assert steps[0]["kind"] == "accepted"
    assert {step["detail"] for step in steps} == {None}


async def test_what_is_on_its_way_is_looked_at_again_until_it_has_ended(house: House) -> None:
    ada = house.around.contacts.add()
    key = await house.accepted(user_id=ada, metadata={"order": "of Ada"})
    async with open_database(house.around.dsn, name="test") as database:
        assert await Erasures(database).scrub(ada, bite=500) == 1

    async with house.loop("erasures"):
        await erased(house, ada)

        async def waits() -> bool:
            return "notifications_pending" in str(await house.sql.fetch(_ERASURES, ERASURES_QUEUE))

        await eventually(waits, says="the erasure waits for the end of the notification")
        assert await personal(house, ada) == ""

        async with house.loop("recorder"):
            late = msgspec.structs.replace(failed(key), error="what was said of Ada")
            await house.broker.publish([Message(STATUS_QUEUE, encoded(late))])

            async def over() -> bool:
                return not await house.sql.fetch(_ERASURES, ERASURES_QUEUE)

            await eventually(over, within=30, says="the erasure is done once the notification has ended")

    assert (await house.call("GET", f"/notifications/{key}")).data["status"] == "failed"
    assert await personal(house, ada) == ""


async def test_bites_cover_everything_whatever_their_size(house: House) -> None:
    ada = house.around.contacts.add()
    for _ in range(5):
        await house.accepted(user_id=ada, metadata={"order": "of Ada"})
    async with open_database(house.around.dsn, name="test") as database:
        assert await Erasures(database).scrub(ada, bite=2) == 5

    assert await house.sql.fetchval("SELECT count(*) FROM gateway.notifications WHERE metadata IS NOT NULL") == 0


async def test_nonsense_in_the_queue_is_a_dead_letter_and_nobody_waits_for_it(house: House) -> None:
    async with house.loop("erasures"):
        await house.broker.publish([Message(ERASURES_QUEUE, body) for body in (b"{", b'{"user_id": 7}', b"\xff")])
        await erased(house, uuid4())

        async def settled() -> bool:
            rows = await house.sql.fetch("SELECT queue, count(*) FROM broker.messages GROUP BY queue")
            return {row["queue"]: row["count"] for row in rows} == {"failed.queue": 3}

        await eventually(settled, says="three dead letters")
