"""Notifications that died, as the workers and the brokers leave them in `failed.queue`."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec

from carillon.contracts.channels import FAILED_QUEUE, STATUS_QUEUE
from carillon.contracts.dead_letters import (
    ATTEMPTS_HEADER,
    FIRST_ERROR_HEADER,
    LAST_ERROR_HEADER,
    PROVIDER_HEADER,
    REPORTED_HEADER,
)
from carillon.contracts.messages import DeliveryRequested
from carillon.kit.broker import notes
from carillon.kit.broker.port import Message
from tests.integration.gateway.house import House
from tests.support.waiting import eventually
from tests.unit.gateway.reports import encoded, failed

OPERATOR = ("notifications:read", "notifications:replay")
TOLD = {
    FIRST_ERROR_HEADER: "451 4.7.1 <ada@example.com> later",
    LAST_ERROR_HEADER: "550 5.1.1 no",
    ATTEMPTS_HEADER: "3",
    PROVIDER_HEADER: "smtp:here:25",
    REPORTED_HEADER: "1",
}
STARTED = datetime(2026, 3, 1, 12, tzinfo=UTC)


def message(
    body: bytes, reason: str = "recipient_refused", *, queue: str = "email.queue", key: UUID | None = None, **more: Any
) -> Message:
    """As a broker moves what died to the dead letters."""
    died: datetime = more.pop("died", STARTED)
    headers: Mapping[str, str] = more.pop("headers", TOLD)
    noted = notes.dead(headers, reason=reason, queue=queue, published_at=STARTED, now=died)
    return Message(FAILED_QUEUE, body, noted, key or uuid4())


async def request_of(house: House, notification_id: UUID) -> DeliveryRequested:
    """The message as it lies in the outbox, which is emptied as by the relay."""
    body = await house.sql.fetchval(
        "DELETE FROM gateway.outbox WHERE notification_id = $1 RETURNING body", notification_id
    )
    return msgspec.json.decode(body, type=DeliveryRequested)


async def kept(house: House, messages: Sequence[Message]) -> None:
    """Put into the queue and drained."""
    await house.broker.publish(messages)
    await drained(house)


async def drained(house: House) -> None:
    async def empty() -> bool:
        return not await house.sql.fetchval("SELECT count(*) FROM broker.messages WHERE queue = $1", FAILED_QUEUE)

    async with house.loop("dead_letters"):
        await eventually(empty, says="failed.queue is drained")


async def dead(house: House, reason: str = "recipient_refused", **given: Any) -> UUID:
    """A notification that a worker gave up and told so; its letter is kept."""
    died, headers = given.pop("died", STARTED), given.pop("headers", TOLD)
    key = await house.accepted(**given)
    body = msgspec.json.encode(await request_of(house, key))
    if REPORTED_HEADER in headers:
        await reported(house, key, reason)
    await kept(house, [message(body, reason, key=key, died=died, headers=headers)])
    return key


async def reported(house: House, key: UUID, reason: str) -> None:
    async with house.loop("recorder"):
        await house.broker.publish([Message(STATUS_QUEUE, encoded(failed(key, reason=reason)))])

        async def is_failed() -> bool:
            return bool(
                await house.sql.fetchval("SELECT status = 'failed' FROM gateway.notifications WHERE id = $1", key)
            )

        await eventually(is_failed, says="the worker's report is recorded")


def operator(house: House) -> str:
    return house.around.callers.token(*OPERATOR)


async def replay(house: House, **body: Any) -> dict[str, Any]:
    answer = await house.call("POST", "/dead_letters/replay", token=operator(house), json=body)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.data
    return found


async def letters(house: House, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await house.call("GET", f"/dead_letters/all{query}", token=operator(house))).data
    return found
