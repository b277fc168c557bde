"""Back-pressure over HTTP: while too much waits in the outbox, the bulk lane is asked to come again."""

import io
import json

from tests.integration.gateway.house import Around, open_house
from tests.support.waiting import eventually


async def test_beyond_the_bound_the_bulk_lane_waits_and_passes_again_once_the_outbox_is_empty(around: Around) -> None:
    async with open_house(around, most_waiting=2) as house:
        for _ in range(3):
            await house.accepted(priority=3)
        bulk = house.body(priority=1)

        async with house.loop("measure"):

            async def refused() -> bool:
                return (await house.post(house.body(priority=3))).status == 429

            await eventually(refused, says="the measuring loop has counted")
        told = await house.post(bulk)
        items = {"notifications": [bulk, house.body(), house.body(priority=9)]}
        headers = {"Authorization": f"Bearer {house.token}", "Content-Type": "application/json"}
        data = io.BytesIO(json.dumps(items).encode())
        async with house.session.post("/api/v1/notifications/batch", data=data, headers=headers) as answer:
            many, after = (await answer.json())["data"], answer.headers["Retry-After"]

        assert (told.body["error"], told.body["success"]) == ("too_much_waits", False)
        assert (many["accepted"], many["refused"], after) == (2, 1, "5")
        assert many["results"][0]["error"] == "too_much_waits"
        assert (await house.post(house.body(priority=4))).status == 202
        assert (await house.post(house.body(priority=10))).status == 202

        await house.sql.execute("DELETE FROM gateway.outbox")
        async with house.loop("measure"):

            async def taken() -> bool:
                return (await house.post(bulk)).status == 202

            await eventually(taken, says="the measuring loop has counted again")
