"""Broadcasts over HTTP, in few words."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from carillon.gateway.actions.enqueue import Enqueuing
from carillon.gateway.store.broadcasts import Broadcasts
from carillon.gateway.store.cancellations import Cancellations
from carillon.gateway.store.outbox import Outbox
from carillon.kit.database import Database
from carillon.kit.ids import uuid7
from tests.integration.gateway.house import Around, House
from tests.support.waiting import eventually

HERALD = ("notifications:broadcast",)


def crowd(around: Around, size: int, *, page: int = 1_000) -> set[UUID]:
    """That many people, told in pages of so many."""
    around.contacts.looked_at = page
    return {around.contacts.add() for _ in range(size)}


def call_to(**given: Any) -> dict[str, Any]:
    return {
        "notification_type": "email",
        "template_code": "welcome",
        "variables": {"name": "Friend", "link": "https://example.com/news"},
        "request_id": uuid7().hex,
        "audience": {"filter": {}},
        **given,
    }


async def begun(house: House, token: str, **given: Any) -> str:
    answer = await house.call("POST", "/broadcasts", token=token, json=call_to(**given))
    assert answer.status == 201, answer.body
    key: str = answer.data["broadcast_id"]
    return key


async def until(house: House, token: str, key: str, *, within: float = 20, **told: Any) -> dict[str, Any]:
    """Its progress once it tells all of this."""

    async def there() -> dict[str, Any] | None:
        answer = await house.call("GET", f"/broadcasts/{key}", token=token)
        if answer.status == 503:  # a test has cut the connection
            return None
        data: dict[str, Any] = answer.data
        return data if all(data[name] == value for name, value in told.items()) else None

    condition: Callable[[], Awaitable[Any]] = there
    found: dict[str, Any] = await eventually(condition, within=within, says=f"{told}")
    return found


async def written_to(house: House, key: str) -> list[UUID]:
    """Whose notifications belong to it, as often as there are any."""
    rows = await house.sql.fetch("SELECT user_id FROM gateway.notifications WHERE broadcast_id = $1", UUID(key))
    return [row[0] for row in rows]


def terms_of(house: House, database: Database) -> Enqueuing:
    """For turns that a test takes itself."""
    contacts = house.around.contacts
    return Enqueuing(
        Broadcasts(database),
        contacts,
        Cancellations(database),
        Outbox(database),
        asyncio.Event(),
        asyncio.Event(),
        lambda _fresh: None,
        most_waiting=100_000,
        failure_ratio=0.5,
    )
